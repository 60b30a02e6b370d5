DROP TRIGGER billing_dailyusage_totals_delete ON billing_dailyusage;
DROP TRIGGER billing_dailyusage_totals_update ON billing_dailyusage;
DROP TRIGGER billing_dailyusage_totals_insert ON billing_dailyusage;
DROP FUNCTION billing_total_daily_usage();
DROP FUNCTION billing_add_to_totals(billing_dailyusage[], billing_dailyusage[]);
DROP FUNCTION billing_negate_counts(bigint[]);

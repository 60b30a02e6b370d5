// A tenant that is added without models starts with its tier's: say which, once a tier is chosen.
"use strict";

addEventListener("load", () => {
    const models = document.querySelector("select[data-of-tiers]");
    const tier = document.getElementById("id_tier");
    if (!models || !tier) return;
    const ofTiers = JSON.parse(models.dataset.ofTiers);
    const told = Object.assign(document.createElement("p"), { className: "c-hint" });
    told.setAttribute("role", "status");
    models.parentElement.append(told);
    const tell = () => {
        const names = ofTiers[tier.value];
        const chosen = models.selectedOptions.length > 0;
        if (!names || chosen) told.textContent = "";
        else if (names.length) told.textContent = `Tier's default models: ${names.join(", ")}.`;
        else told.textContent = "This tier has no default models: choose some, or every call is refused.";
    };
    django.jQuery(tier).on("change", tell); // Select2 tells jQuery alone
    django.jQuery(models).on("change", tell);
    tell();
});

// Charts and copy buttons. Everything else in the portal works without a script.
"use strict";

const usd = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const shortUsd = new Intl.NumberFormat("en", { style: "currency", currency: "USD", notation: "compact", maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

const said = (value, unit) => (value == null ? "–" : unit === "usd" ? usd.format(value) : whole.format(value));
const onAxis = (value, unit) => (unit === "usd" ? shortUsd : short).format(value);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axes(unit) {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const look = { stroke: colour("--soft"), font, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    return [
        { ...look, grid: { show: false }, space: 70, values: (_, at) => at.map((each) => (each % 86400 ? "" : day.format(each * 1000))) },
        { ...look, size: 62, space: 36, values: (_, at) => at.map((each) => onAxis(each, unit)) },
    ];
}

// Bars of one day stand on each other: the sums are drawn from the highest down, the legend tells each one's own.
function bars({ unit, series }) {
    const sums = [];
    for (const { values } of series) {
        const below = sums.at(-1);
        sums.push(values.map((value, at) => Number(value) + (below ? below[at] : 0)));
    }
    const order = series.map((_, at) => at).reverse();
    return {
        data: order.map((at) => sums[at]),
        series: order.map((at) => ({
            label: series[at].name,
            stroke: colour(`--series-${(at % 6) + 1}`),
            fill: colour(`--series-${(at % 6) + 1}`),
            width: 0,
            paths: uPlot.paths.bars({ size: [0.7, 36], radius: 0.12 }),
            points: { show: false },
            value: (_, __, ___, index) => said(index == null ? null : series[at].values[index], unit),
        })),
    };
}

const LINES = {
    spent: () => ({ stroke: colour("--accent"), fill: `${colour("--accent")}22`, width: 2 }),
    pace: () => ({ stroke: colour("--accent"), width: 1.5, dash: [5, 5] }),
    budget: () => ({ stroke: colour("--c-high"), width: 1.5, dash: [2, 4] }),
};

function lines({ unit, series }) {
    return {
        data: series.map(({ values }) => values.map((value) => (value == null ? null : Number(value)))),
        series: series.map(({ name, look }) => ({ label: name, points: { show: false }, value: (_, value) => said(value, unit), ...LINES[look]() })),
    };
}

function draw(place) {
    const told = JSON.parse(document.getElementById(place.dataset.chart).textContent);
    const { data, series } = (told.kind === "bars" ? bars : lines)(told);
    place.chart?.destroy();
    place.chart = new uPlot(
        {
            width: place.clientWidth,
            height: 240,
            tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
            cursor: { y: false, drag: { x: false, y: false } },
            scales: { y: { range: (_, __, most) => [0, (most || 1) * 1.08] }, x: told.kind === "bars" ? { range: (_, from, to) => [from - 43200, to + 43200] } : {} },
            axes: axes(told.unit),
            series: [{ value: (_, at) => (at == null ? "–" : day.format(at * 1000)), label: "Day" }, ...series],
        },
        [told.days.map((each) => Date.parse(each) / 1000), ...data],
        place,
    );
}

const drawAll = (within) => within.querySelectorAll("[data-chart]").forEach(draw);

document.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-copies]");
    if (button) {
        const from = document.getElementById(button.dataset.copies);
        await navigator.clipboard.writeText(from.value ?? from.textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 2000);
    }
    document.querySelectorAll("details.menu[open]").forEach((open) => open.contains(target) || (open.open = false));
});
document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") document.querySelectorAll("details.menu[open]").forEach((open) => { open.open = false; open.querySelector("summary").focus(); });
});
// A part of a page that could not be had: its error page's words stand in its place.
document.addEventListener("htmx:responseError", ({ detail: { xhr, target } }) => {
    const words = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("main .card p");
    const told = Object.assign(document.createElement("p"), { className: "message error", textContent: words?.textContent ?? "This cannot be shown right now." });
    told.setAttribute("role", "alert");
    target.replaceChildren(told);
});
document.addEventListener("htmx:afterSettle", ({ target }) => drawAll(target));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
addEventListener("resize", () => document.querySelectorAll("[data-chart]").forEach((place) => place.chart?.setSize({ width: place.clientWidth, height: 240 })));
drawAll(document);
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

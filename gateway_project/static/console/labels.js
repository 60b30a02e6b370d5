// Select2 names its boxes by their value, which may be empty: give them the name of the field's own label.
const boxes = "[role=combobox], [role=searchbox], [role=textbox], .select2-search__field";

function nameBoxes() {
    for (const select of document.querySelectorAll("select")) {
        const name = select.labels?.[0]?.textContent.replace("*", "").trim() || select.name.replaceAll(/[-_\d]+/g, " ").trim();
        if (!select.labels?.length) select.setAttribute("aria-label", name);
        for (const box of select.parentElement.querySelectorAll(`.select2-container :is(${boxes})`)) {
            if (box.getAttribute("aria-label") === name) continue;
            box.removeAttribute("aria-labelledby");
            box.setAttribute("aria-label", name);
        }
    }
}

addEventListener("load", () => {
    nameBoxes();
    new MutationObserver(nameBoxes).observe(document.body, { childList: true, subtree: true }); // Select2 may come later
});

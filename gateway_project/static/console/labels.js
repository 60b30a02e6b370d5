// Select2 names its boxes by their value, which may be empty: give them the name of the field's own label.
const boxes = "[role=combobox], [role=searchbox], [role=textbox], .select2-search__field";

function nameBoxes() {
    // Its list of chosen values also holds a button and a box, which no list may.
    for (const list of document.querySelectorAll("ul.select2-selection__rendered:not([role])")) {
        list.setAttribute("role", "group");
    }
    for (const item of document.querySelectorAll("ul.select2-selection__rendered > li:not([role])")) {
        item.setAttribute("role", "none");
    }
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

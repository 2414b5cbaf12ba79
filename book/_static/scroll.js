// What is wider than the page, such as a table on a phone, is scrolled by itself; it says so as long as that is so.
document.addEventListener("DOMContentLoaded", () => {
  const wide = ".cell_output figure, .cell_output .text_html, .pst-scrollable-table-container";
  const look = () => {
    for (const box of document.querySelectorAll(wide)) {
      const scrolls = getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth + 2;
      box.classList.toggle("scrolls", scrolls);
    }
  };
  look();
  addEventListener("load", look);
  addEventListener("resize", look);
  // Fonts and formulas that arrive later make a table wider while the window stays as it is.
  const watch = new ResizeObserver(look);
  for (const table of document.querySelectorAll("article table")) watch.observe(table);
});

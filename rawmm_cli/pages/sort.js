// Sort a table by a column: of the heads that can be clicked, the n-th stands above the n-th cells.
for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.querySelectorAll("[aria-sort]")];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending", value = row => row.cells[column].dataset.value;
    const compare = (a, b) => column === 0 ? a.localeCompare(b, "en", { numeric: true }) : a - b || 0;
    const rows = [...body.rows].sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === "" || other === "") return (one === "") - (other === "");
      return one === other ? 0 : up ? compare(one, other) : compare(other, one);
    });
    heads.forEach(other => other.setAttribute("aria-sort", other === head ? up ? "ascending" : "descending" : "none"));
    body.append(...rows);
  }));
}

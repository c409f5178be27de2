// Sort the table by a column; zoom into the same place of a picture everywhere that it is shown.
for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
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
for (const row of document.querySelectorAll(".row")) {
  const place = (x, y) => {
    row.style.setProperty("--x", `${Math.min(100, Math.max(0, x)).toFixed(1)}%`);
    row.style.setProperty("--y", `${Math.min(100, Math.max(0, y)).toFixed(1)}%`);
  };
  for (const frame of row.querySelectorAll(".frame")) {
    let at = [50, 50];
    frame.tabIndex = 0;
    frame.addEventListener("pointermove", event => {
      const box = frame.getBoundingClientRect();
      place((event.clientX - box.left) / box.width * 100, (event.clientY - box.top) / box.height * 100);
      row.classList.add("zoom");
    });
    frame.addEventListener("pointerleave", () => row.classList.remove("zoom"));
    frame.addEventListener("focus", () => {
      if (!frame.matches(":focus-visible")) return;
      place(...at);
      row.classList.add("zoom");
    });
    frame.addEventListener("blur", () => row.classList.remove("zoom"));
    frame.addEventListener("keydown", event => {
      const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
      if (!step) return;
      event.preventDefault();
      at = at.map((value, n) => Math.min(100, Math.max(0, value + step[n])));
      place(...at);
      row.classList.add("zoom");
    });
  }
}

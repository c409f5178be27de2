// Zoom into the same place of a picture everywhere that it is shown.
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

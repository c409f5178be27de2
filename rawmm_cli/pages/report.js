// Read a curve off where the pointer is, in all curves at once; enlarge a contact sheet.
const four = n => +n.toPrecision(4);
const short = n => n >= 1e12 ? `${four(n / 1e12)}T` : n >= 1e9 ? `${four(n / 1e9)}G` : n >= 1e6 ? `${four(n / 1e6)}M`
  : n >= 1e4 ? `${four(n / 1e3)}k` : n >= 1000 ? Math.round(n).toLocaleString("en") : `${+n.toPrecision(3)}`;
const charts = [...document.querySelectorAll(".curve")].map(figure => {
  const svg = figure.querySelector("svg"), box = {};
  for (const [key, value] of Object.entries(svg.dataset)) box[key] = +value;
  const points = svg.querySelector(".raw").getAttribute("points").split(" ").map(pair => pair.split(",").map(Number));
  const number = figure.querySelector("output b");
  return { svg, box, points, number, dot: svg.querySelector("circle"), line: svg.querySelector(".cursor"),
    rest: number.textContent };
});
function value({ low, high, log, top, bottom }, y) {
  const share = (bottom - y) / (bottom - top);
  return log ? low * (high / low) ** share : low + share * (high - low);
}
function show({ box, dot, line, number }, [x, y], text, at) {
  dot.setAttribute("cx", x);
  dot.setAttribute("cy", y);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
  line.style.opacity = at ? .7 : 0;
  number.textContent = text;
  number.parentNode.replaceChildren(at, number);
}
for (const { svg, box } of charts) {
  svg.addEventListener("pointermove", event => {
    const place = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width;
    const share = ((event.clientX - place.left) / place.width * width - box.left) / (box.right - box.left);
    for (const chart of charts) {
      const x = chart.box.left + share * (chart.box.right - chart.box.left);
      const point = chart.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
      const documents = (point[0] - chart.box.left) / (chart.box.right - chart.box.left) * chart.box.far;
      show(chart, point, short(value(chart.box, point[1])), `at ${short(documents)}  `);
    }
  });
  svg.addEventListener("pointerleave", () => charts.forEach(chart => show(chart, chart.points.at(-1), chart.rest, "")));
}
for (const figure of document.querySelectorAll(".timeline figure")) {
  const toggle = () => figure.classList.toggle("wide");
  figure.classList.add("live");
  figure.tabIndex = 0;
  figure.addEventListener("click", toggle);
  figure.addEventListener("keydown", event => event.key === "Enter" && toggle());
}

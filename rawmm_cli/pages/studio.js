// Ask the model for a picture or a caption, and show its answer line by line as it comes.
"use strict";
const at = id => document.getElementById(id), history = [], fields = ["prompt", "steps", "guidance", "seed"];
let drawing = null;

async function lines(address, body, receive, signal) {
  const answer = await fetch(address, { method: "POST", body, signal });
  if (!answer.ok) throw new Error(await answer.text());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) receive(JSON.parse(line));
  }
}

function show(place, address) {
  const image = place.querySelector("img") || document.createElement("img");
  image.alt = "";
  image.src = address;
  if (!image.parentNode) place.replaceChildren(image);
}

function write(place, prompt, text) {
  const given = document.createElement("em");
  given.textContent = prompt;
  place.className = "caption";
  place.replaceChildren(given, text);
}

function mark(place, line, what) {
  place.hidden = !line.outside;
  if (!line.outside) return;
  const badge = document.createElement("b");
  badge.className = "tag worst";
  badge.textContent = "outside";
  place.replaceChildren(badge, ` of what this model has seen: ${line.why}. The ${what} means little.`);
}

function learned(seen) {
  const rows = seen ? [
    ["Sets", seen.sets.map(one => `${one.name}${one.pictures ? `: ${one.pictures.toLocaleString("en")} pictures` : ""}`).join("; ")],
    ["Sizes", [...new Set(seen.sets.flatMap(one => one.sizes.map(([height, width]) => `${width} × ${height}`)))].join(", ")],
    ["Prompts", seen.kinds.join("; ")],
    ["Captions", seen.captions && `${seen.captions.different.toLocaleString("en")} different; ` +
      seen.examples.slice(0, 3).map(text => `“${text}”`).join(", ")],
    ["Words", seen.captions && `${seen.captions.vocabulary.toLocaleString("en")}, most often ` +
      seen.captions.frequent.map(entry => entry[0]).join(", ")],
  ] : [["Not measured", "nothing is marked as outside; `rawmm evaluate` measures it"]];
  const parts = rows.filter(([, text]) => text).map(([name, text]) => {
    const row = document.createElement("div"), title = document.createElement("dt"), words = document.createElement("dd");
    title.textContent = name;
    words.textContent = text;
    row.append(title, words);
    return row;
  });
  at("seen").querySelector("dl").replaceChildren(...parts);
}

function offer(prompts) {
  at("chips").hidden = !prompts.length;
  at("chips").replaceChildren(...prompts.map(text => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = chip.title = text;
    chip.onclick = () => { at("prompt").value = text; at("ask").requestSubmit(); };
    return chip;
  }));
}

function fail(place, error) {
  if (error.name === "AbortError") return;
  place.className = "caption bad";
  place.textContent = error.message;
}

async function draw(event) {
  event.preventDefault();
  if (drawing) drawing.abort();
  const mine = drawing = new AbortController(), prompt = at("prompt").value;
  const request = { prompt, guidance: +at("guidance").value, seed: +at("seed").value };
  if (!at("steps").disabled) request.steps = +at("steps").value;
  at("done").style.width = "0";
  write(at("written"), prompt, "");
  at("spent").textContent = "writing";
  at("foreign").hidden = true;
  let picture = null, text = "", verdict = {};
  try {
    await lines("/draw", JSON.stringify(request), line => {
      if (line.error) throw new Error(line.error);
      if (line.outside !== undefined) mark(at("foreign"), verdict = line, "drawing");
      if (line.text !== undefined) write(at("written"), prompt, text = line.text);
      if (line.picture) show(at("drawn"), line.picture);
      if (line.step) {
        if (line.of) at("done").style.width = `${100 * line.step / line.of}%`;
        at("spent").textContent = `step ${line.step}` + (line.of ? ` of ${line.of}` : "");
      } else if (line.picture) picture = line.picture;
      if (line.seconds && !line.picture) at("spent").textContent = `${line.seconds} s`;
    }, mine.signal);
    if (picture) remember({ ...request, picture, text, outside: verdict.outside, why: verdict.why });
    else at("spent").textContent = "the model wrote no <image> after this prompt";
  } catch (error) {
    fail(at("written"), error);
    if (drawing === mine) at("spent").textContent = "";
  }
  if (drawing === mine) drawing = null;
}

async function read(file) {
  at("caption").textContent = at("read-spent").textContent = "";
  at("read-foreign").hidden = true;
  at("read").style.width = "15%";
  try {
    await lines("/caption", file, line => {
      if (line.error) throw new Error(line.error);
      if (line.picture) show(at("drop"), line.picture);
      if (line.outside !== undefined) mark(at("read-foreign"), line, "caption");
      if (line.text !== undefined) write(at("caption"), "", line.text);
      if (line.seconds) at("read-spent").textContent = `${line.seconds} s`;
    });
    at("read").style.width = "100%";
  } catch (error) { fail(at("caption"), error); at("read").style.width = "0"; }
}

function remember(entry) {
  history.push(entry);
  const button = document.createElement("button"), image = document.createElement("img");
  button.title = `${entry.prompt}${entry.text} (seed ${entry.seed}${entry.steps ? `, ${entry.steps} steps` : ""})`;
  button.setAttribute("aria-label", button.title);
  image.src = entry.picture;
  image.alt = "";
  button.append(image);
  button.classList.toggle("outside", Boolean(entry.outside));
  button.onclick = () => {
    show(at("drawn"), entry.picture);
    write(at("written"), entry.prompt, entry.text);
    mark(at("foreign"), entry, "drawing");
    for (const name of fields) if (name in entry) at(name).value = entry[name];
    label();
  };
  at("history").prepend(button);
}

function label() {
  at("steps-shown").textContent = at("steps").value;
  at("guidance-shown").textContent = (+at("guidance").value).toFixed(1);
}

at("ask").onsubmit = draw;
at("steps").oninput = at("guidance").oninput = label;
at("another").onclick = () => { at("seed").value = Math.floor(Math.random() * 1e6); at("ask").requestSubmit(); };
at("drop").onclick = () => at("file").click();
at("drop").onkeydown = event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); at("file").click(); } };
at("file").onchange = () => at("file").files[0] && read(at("file").files[0]);
for (const name of ["dragover", "dragleave", "drop"]) addEventListener(name, event => {
  event.preventDefault();
  at("drop").classList.toggle("over", name === "dragover");
  if (name === "drop" && event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
});
fetch("/model").then(answer => answer.json()).then(model => {
  at("about").textContent = `${model.name}, ${(model.parameters / 1e6).toFixed(1)} million parameters, ` +
    `${model.size[1]} × ${model.size[0]} pixels`;
  at("steps").disabled = at("steps").parentNode.hidden = model.steps === null;  // a head without steps
  if (model.steps !== null) at("steps").value = model.steps;
  at("guidance").value = model.guidance;
  const prompts = model.seen ? model.seen.prompts : [];
  if (!at("prompt").value && prompts.length) at("prompt").value = prompts[0];
  offer(prompts);
  learned(model.seen);
  label();
  document.documentElement.dataset.ready = "yes";
});

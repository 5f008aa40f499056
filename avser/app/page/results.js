// A result on the page: the timeline, the cards, the weight of the voice, the downloads.
/* global show, card, element, percent, best, clock, media */ // these are of timeline.js, which the report has as well
import { merged, revised } from "./fusion.js";
import * as server from "./server.js";

const find = (id) => document.getElementById(id);
const choice = { voice: null, without: null };
let jobs = []; // {id, view}, the first model first

/** Shows what was found by one job or two. */
export function display(found, formats) {
  jobs = found;
  Object.assign(choice, { voice: null, without: null });
  const view = jobs[0].view;
  find("name").textContent = view.name;
  find("about").textContent = [view.about, view.settings, ...models()].filter(Boolean).join(" · ");
  const said = [...new Set(jobs.flatMap((job) => job.view.warnings))];
  find("warnings").replaceChildren(...said.map((text) => element("li", "", text)));
  find("faces").replaceChildren(...jobs.flatMap((job) => Object.entries(job.view.faces)).map(([id, address]) => {
    const face = element("img");
    [face.id, face.src, face.alt] = [id, address, ""];
    return face;
  }));
  find("fusion").hidden = !fused();
  find("result").hidden = false; // a canvas that is not shown has no width
  redraw(false);
  list(formats);
  find("made").textContent = "";
  find("name").focus();
}

/** The ids of the jobs that are shown. */
export const ids = () => jobs.map((job) => job.id);

export function clear() {
  jobs = [];
  find("result").hidden = true;
}

const models = () => jobs.map((job) => `model ${job.view.model}`);
const fused = () => jobs.find((job) => job.view.fusion)?.view.fusion;

/** Draws what follows from the choice; `same`: the time and the part in view stay. */
function redraw(same) {
  const view = merged(jobs.map((job) => revised(job.view, choice)));
  show(view, same);
  find("overall").replaceChildren(...view.overall.map((lane) => whole(lane, view)));
  find("legend").replaceChildren(...view.labels.map((label, c) => {
    const item = element("li"), mark = element("i");
    mark.style.background = view.colours[c][0];
    item.append(mark, label);
    return item;
  }), hatched());
  controls();
}

function hatched() {
  const item = element("li");
  item.append(element("i", "hatch"), "abstains");
  return item;
}

/** A card on the whole recording or on a person, with all probabilities. */
function whole(lane, view) {
  const made = card(lane, 0), rows = view.rows.filter((row) => lane.probs[row.key]?.[0]);
  if (!rows.length) return made;
  const details = element("details"), table = element("table"), head = element("tr");
  details.append(element("summary", "", "Probabilities"), table);
  const above = [element("th", "", "emotion"), ...rows.map((row) => element("th", "number", row.name))];
  for (const cell of above) cell.scope = "col";
  head.append(...above);
  const body = view.labels.map((label, c) => {
    const line = element("tr"), name = element("th", "", label);
    name.scope = "row";
    line.append(name, ...rows.map((row) => element("td", "number", percent(lane.probs[row.key][0][c] / 1000))));
    return line;
  });
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  table.tBodies[0].append(...body);
  made.append(details);
  return made;
}

// The weight of the voice

function controls() {
  const fusion = fused();
  if (!fusion) return;
  const voice = choice.voice ?? fusion.voice, both = choice.without === null;
  find("audio").checked = choice.without !== "audio";
  find("face").checked = choice.without !== "face";
  // one of them has to stay
  find("audio").disabled = choice.without === "face";
  find("face").disabled = choice.without === "audio";
  find("voice").disabled = !both;
  find("own").disabled = choice.voice === null && both;
  find("voice").value = Math.round(100 * (voice ?? 0.5));
  const shares = voice === null ? "as the rule says" : `voice ${percent(voice)}, face ${percent(1 - voice)}`;
  const alone = choice.without === "audio" ? "the face alone" : "the voice alone";
  find("shares").value = both ? shares : alone;
  find("voice").setAttribute("aria-valuetext", find("shares").value);
  find("rule").textContent = explained(fusion);
}

function explained(fusion) {
  if (choice.without !== null) return "What is left speaks for itself; where it is absent, avser abstains.";
  const sharper = fusion.sharpness === 1 ? "" : `, sharpened by ${fusion.sharpness.toFixed(2)} where both are there`;
  if (choice.voice !== null) return `Your weight: the mean of log-probabilities with these shares${sharper}.`;
  return `As the model does, by the rule “${fusion.rule}”${sharper}.`;
}

let asked = 0;
function change(what) {
  Object.assign(choice, what);
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(() => redraw(true));
}

find("voice").addEventListener("input", (event) => change({ voice: Number(event.target.value) / 100 }));
find("own").addEventListener("click", () => change({ voice: null, without: null }));
for (const name of ["audio", "face"]) {
  find(name).addEventListener("change", (event) => change({ without: event.target.checked ? null : name }));
}

// Downloads

function list(formats) {
  find("downloads").replaceChildren(...jobs.map((job) => {
    const made = element("div", "formats");
    if (jobs.length > 1) made.append(element("b", "", job.view.model));
    for (const format of formats) {
      const button = element("button", "", format.name);
      button.type = "button";
      button.disabled = !format.available;
      button.title = format.available ? "" : `the server lacks ${format.needs}`;
      button.addEventListener("click", () => save(job, format.name, button));
      made.append(button);
    }
    return made;
  }));
}

async function save(job, format, button) {
  const stem = job.view.name.replace(/\.[^.]*$/, "");
  const name = jobs.length > 1 ? `${stem}.${job.view.model}.${format}` : `${stem}.${format}`;
  find("made").textContent = `${name} is being made …`;
  button.disabled = true;
  try {
    const link = element("a"), made = await server.file(job.id, format, choice);
    [link.href, link.download] = [URL.createObjectURL(made), name];
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    find("made").textContent = `${name} is downloaded.`;
  } catch (error) {
    find("made").textContent = `${name}: ${error.message}`;
  } finally {
    button.disabled = false;
  }
}

// A recording of the browser's own does not say how long it is: the end is looked for
media.addEventListener("loadedmetadata", () => {
  if (media.duration !== Infinity) return;
  media.addEventListener("durationchange", () => { media.currentTime = 0; }, { once: true });
  media.currentTime = 1e9;
});

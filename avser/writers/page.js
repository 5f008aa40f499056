"use strict";
// The timeline of a result, drawn on a canvas and tied to the player: `show` shows what `page_data` describes.
const media = document.getElementById("media"), timeline = document.getElementById("timeline");
const canvas = timeline.querySelector("canvas"), cursor = document.getElementById("cursor");
const pan = document.getElementById("pan"), now = document.getElementById("now"), clockOut = document.getElementById("clock");
const GUTTER = 50, TITLE = 22, BANDS = 54, ROW = 16, GAP = 12, SPEECH = 16, AXIS = 20;
const view = { start: 0, end: 0 };
let data = null, C = 0, time = 0, playable = true, drawn = 0;

/** Shows a result. One that says other things of the same file keeps the time and the part in view. */
function show(result, same = false) {
  [data, C, shown] = [result, result.labels.length, ""];
  if (!same) [time, view.start, view.end] = [0, 0, data.end];
  timeline.setAttribute("aria-valuemax", data.end.toFixed(1));
  look(view.start, view.end - view.start);
}

function clock(seconds, digits = 1) {
  const unit = 10 ** digits, whole = Math.round(Math.max(0, seconds) * unit);
  const hours = Math.floor(whole / 3600 / unit), minutes = Math.floor(whole / 60 / unit) % 60;
  const rest = ((whole / unit) % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : `${minutes}`) + `:${rest}`;
}
const percent = (share) => `${Math.round(100 * share)} %`;

// Rows of a lane: times[2 i] to times[2 i + 1] s; probs by modality, C shares in thousandths each, or null

/** The first row of a lane that ends after a time. */
function rowAfter(lane, t) {
  let low = 0, high = lane.times.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane.times[2 * middle + 1] > t) high = middle; else low = middle + 1;
  }
  return low;
}

function rowAt(lane, t) {
  const i = rowAfter(lane, t);
  return i < lane.times.length / 2 && lane.times[2 * i] <= t ? i : -1;
}

/** Mean distribution of rows `first` to `last` (excluded) in which a modality is present; null if there is none. */
function mean(lane, name, first, last) {
  let sum = null;
  for (let i = first; i < last; i++) {
    const probs = lane.probs[name] && lane.probs[name][i];
    if (!probs) continue;
    sum = sum || new Float64Array(C);
    const length = lane.times[2 * i + 1] - lane.times[2 * i];
    for (let c = 0; c < C; c++) sum[c] += length * probs[c];
  }
  if (!sum) return null;
  const total = sum.reduce((a, b) => a + b, 0) || 1;
  return sum.map((x) => x / total);
}

const best = (probs) => probs.indexOf(Math.max(...probs));

// Drawing

function x(t, width) { return GUTTER + (t - view.start) / (view.end - view.start) * (width - GUTTER); }

function hatched(context, ink) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const c = tile.getContext("2d");
  c.strokeStyle = ink; c.lineWidth = 1;
  c.beginPath();
  for (const d of [-8, 0, 8]) { c.moveTo(d, 8); c.lineTo(d + 8, 0); }
  c.stroke();
  return context.createPattern(tile, "repeat");
}

function draw() {
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const width = drawn = timeline.clientWidth, sharp = window.devicePixelRatio || 1;
  const laneHeight = TITLE + BANDS + ROW * data.rows.length + GAP;
  const height = SPEECH + 8 + data.lanes.length * laneHeight + AXIS;
  canvas.width = Math.round(width * sharp); canvas.height = Math.round(height * sharp);
  canvas.style.height = `${height}px`;
  const g = canvas.getContext("2d");
  g.scale(sharp, sharp);
  g.font = "12px system-ui, sans-serif"; g.textBaseline = "middle";
  const paint = { g, width, ink: colour("--text"), dim: colour("--dim"), empty: colour("--panel") };
  paint.hatch = hatched(g, paint.dim);
  strip(paint, 0, SPEECH, "speech");
  if (data.speech === null) label(paint, GUTTER + 6, SPEECH / 2, "not looked for");
  g.fillStyle = colour("--ink");
  for (const [start, end] of data.speech || []) bar(paint, start, end, 2, SPEECH - 4);
  data.lanes.forEach((lane, i) => drawLane(paint, lane, SPEECH + 8 + i * laneHeight));
  drawCuts(paint, height - AXIS);
  drawAxis(paint, height - AXIS);
  place();
}

/** An empty row with its name. */
function strip(paint, top, height, name) {
  paint.g.fillStyle = paint.empty;
  paint.g.fillRect(GUTTER, top, paint.width - GUTTER, height);
  if (name) label(paint, 0, top + height / 2, name);
}

function label(paint, left, middle, text, ink) {
  paint.g.fillStyle = ink || paint.dim;
  paint.g.fillText(text, left, middle);
}

/** A stretch of time as a rectangle, as far as it is in view. */
function bar(paint, start, end, top, height) {
  const left = Math.max(GUTTER, x(start, paint.width)), right = Math.min(paint.width, x(end, paint.width));
  if (right > left) paint.g.fillRect(left, top, Math.max(right - left, .5), height);
}

function drawLane(paint, lane, top) {
  const { g, width } = paint;
  label(paint, GUTTER, top + TITLE / 2, lane.title, paint.ink);
  const bands = top + TITLE, rows = bands + BANDS + 2;
  strip(paint, bands, BANDS, "");
  data.rows.forEach((row, r) => strip(paint, rows + r * ROW, ROW - 2, row.name));
  // columns of pixels over which the same rows of the lane lie are one rectangle
  let from = GUTTER, key = "", first = 0, last = 0;
  const flush = (to) => {
    if (last <= first) return;
    const fused = mean(lane, "fused", first, last);
    if (!fused) {
      g.fillStyle = paint.hatch;
      g.fillRect(from, bands, to - from, BANDS + 2 + data.rows.length * ROW - 2);
      return;
    }
    let bottom = bands + BANDS;
    for (let c = 0; c < C; c++) {
      g.fillStyle = data.colours[c][0];
      g.fillRect(from, bottom - fused[c] * BANDS, to - from, fused[c] * BANDS);
      bottom -= fused[c] * BANDS;
    }
    data.rows.forEach((row, r) => {
      const probs = row.key === "fused" ? fused : mean(lane, row.key, first, last);
      if (!probs) return;
      g.fillStyle = data.colours[best(probs)][0];
      g.fillRect(from, rows + r * ROW, to - from, ROW - 2);
    });
  };
  const step = (view.end - view.start) / (width - GUTTER), count = lane.times.length / 2;
  let i = rowAfter(lane, view.start);
  for (let column = GUTTER; column < width; column++) {
    const start = view.start + (column - GUTTER) * step, end = start + step;
    while (i < count && lane.times[2 * i + 1] <= start) i++;
    let j = i;
    while (j < count && lane.times[2 * j] < end) j++;
    const one = j - i > 1 && step < lane.times[2 * i + 1] - lane.times[2 * i] ? `${j - 1}:${j}` : `${i}:${j}`;
    if (one !== key) {
      flush(column);
      [from, key] = [column, one];
      [first, last] = one.split(":").map(Number);
    }
  }
  flush(width);
  const names = rows + (data.rows.length - 1) * ROW + ROW / 2 - 1;
  for (const [start, end, c] of data.rows.length ? lane.segments : []) {
    const left = Math.max(GUTTER, x(start, width)), right = Math.min(width, x(end, width));
    const wide = right > left && right - left > 20 ? g.measureText(data.labels[c]).width : Infinity;
    if (wide + 8 < right - left) label(paint, (left + right - wide) / 2, names, data.labels[c], data.colours[c][1]);
  }
}

function drawCuts(paint, height) {
  const seen = data.cuts.filter((t) => t >= view.start && t <= view.end);
  const few = seen.length * 8 < paint.width;
  paint.g.strokeStyle = paint.ink;
  paint.g.setLineDash([2, 3]);
  paint.g.beginPath();
  for (const t of seen) {
    const at = Math.round(x(t, paint.width)) + .5;
    paint.g.moveTo(at, 0); paint.g.lineTo(at, few ? height : SPEECH);
  }
  paint.g.stroke();
  paint.g.setLineDash([]);
}

function drawAxis(paint, top) {
  const steps = [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200];
  const span = view.end - view.start, most = Math.max(2, (paint.width - GUTTER) / 70);
  const step = steps.find((s) => span / s <= most) || steps[steps.length - 1];
  for (let k = Math.ceil(view.start / step); k * step <= view.end + 1e-9; k++) {
    const text = clock(k * step, step < 1 ? 1 : 0), wide = paint.g.measureText(text).width;
    const at = x(k * step, paint.width);
    label(paint, Math.min(paint.width - wide, Math.max(GUTTER, at - wide / 2)), top + AXIS / 2 + 2, text);
    paint.g.fillRect(at, top, 1, 4);
  }
}

// Time

/** Puts the cursor where the time is, and says what holds now. */
function place() {
  const at = x(time, timeline.clientWidth);
  cursor.style.left = `${at}px`;
  cursor.hidden = at < GUTTER - 1 || at > timeline.clientWidth + 1;
  clockOut.textContent = `${clock(time)} of ${clock(data.end)}`;
  const said = describe();
  timeline.setAttribute("aria-valuenow", time.toFixed(1));
  timeline.setAttribute("aria-valuetext", `${clock(time)}: ${said}`);
}

/** The time, or, where all is over, just before: so that the last windows stay. */
function moment() {
  return Math.min(time, data.end - .002);
}

let shown = "";
function describe() {
  const rows = data.lanes.map((lane) => rowAt(lane, moment())), key = rows.join();
  if (key !== shown) {
    shown = key;
    now.replaceChildren(...data.lanes.flatMap((lane, n) => rows[n] < 0 ? [] : [card(lane, rows[n])]));
    if (!now.children.length) now.append(element("p", "dim", "Nobody is seen or heard here."));
  }
  mark();
  return data.lanes.flatMap((lane, n) => {
    const probs = rows[n] < 0 ? null : lane.probs.fused[rows[n]];
    return probs ? [`${lane.name} ${data.labels[best(probs)]} ${percent(Math.max(...probs) / 1000)}`] : [];
  }).join(", ") || "no emotion";
}

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** What is said of one person at this moment. */
function card(lane, i) {
  const made = element("div", "card"), head = element("header"), words = element("div");
  if (lane.face) {
    const face = element("img");
    face.src = document.getElementById(lane.face).src; face.alt = "";
    head.append(face);
  }
  const fused = lane.probs.fused[i];
  words.append(element("h3", "", lane.name), emotion(fused));
  head.append(words);
  made.append(head);
  const rows = element("div", "said");
  for (const row of data.rows) {
    const probs = lane.probs[row.key] && lane.probs[row.key][i];
    if (!probs) continue;
    const weight = lane.weights[row.key] && lane.weights[row.key][i];
    const share = weight === null || weight === undefined ? "" : `, weight ${percent(weight / 1000)}`;
    rows.append(element("b", "", row.name), stacked(probs),
      element("span", "", `${data.labels[best(probs)]} ${percent(Math.max(...probs) / 1000)}${share}`));
  }
  made.append(rows);
  const facts = [];
  if (lane.speech[i] !== null) facts.push(`speech in ${percent(lane.speech[i] / 1000)} of the window`);
  if (lane.speaking[i] !== null) facts.push(`speaks: score ${(lane.speaking[i] / 1000).toFixed(2)}`);
  for (const words of [lane.reasons[i], lane.notes[i]]) if (words !== null) facts.push(data.words[words]);
  for (const fact of facts) made.append(element("p", "dim", fact));
  return made;
}

function emotion(probs) {
  if (!probs) return element("span", "", "abstains");
  const c = best(probs), made = element("span", "name", `${data.labels[c]} ${percent(probs[c] / 1000)}`);
  [made.style.background, made.style.color] = data.colours[c];
  return made;
}

function stacked(probs) {
  const made = element("div", "bar");
  probs.forEach((share, c) => {
    const part = element("i");
    part.style.width = `${share / 10}%`;
    part.style.background = data.colours[c][0];
    part.title = `${data.labels[c]} ${percent(share / 1000)}`;
    made.append(part);
  });
  return made;
}

/** Marks the rows of the tables in which the time lies. */
const marked = [...document.querySelectorAll("tr[data-from]")].map(
  (row) => ({ row, from: Number(row.dataset.from), to: Number(row.dataset.to), at: false }));
function mark() {
  const t = moment();
  for (const one of marked) {
    const at = one.from <= t && t < one.to;
    if (at !== one.at) { one.at = at; one.row.classList.toggle("at", at); }
  }
}

function seek(t, follow = true) {
  time = Math.min(data.end, Math.max(0, t));
  if (playable && media.readyState > 0) media.currentTime = Math.min(time, media.duration || time);
  else wanted = time;
  if (follow) reveal();
  place();
}
let wanted = null;

/** Moves the view so that the time is in it. */
function reveal() {
  if (time >= view.start && time <= view.end) return;
  look(time - (view.end - view.start) * .1, view.end - view.start);
}

function look(start, span) {
  span = Math.min(data.end, Math.max(Math.min(2, data.end), span));
  view.start = Math.min(data.end - span, Math.max(0, start));
  view.end = view.start + span;
  pan.hidden = span >= data.end;
  pan.max = data.end - span; pan.step = span / 100; pan.value = view.start;
  draw();
}

function zoom(factor, about = time) {
  const span = view.end - view.start, inside = about >= view.start && about <= view.end;
  const middle = inside ? about : view.start + span / 2;
  look(middle - (middle - view.start) * factor, span * factor);
}

function follow() {
  if (!data) return;
  time = media.currentTime;
  reveal();
  place();
  if (!media.paused && !media.ended) requestAnimationFrame(follow);
}

// What the user does

media.addEventListener("play", () => requestAnimationFrame(follow));
media.addEventListener("seeked", () => { if (media.paused) follow(); });
media.addEventListener("loadedmetadata", () => {
  playable = true;
  document.getElementById("lost").hidden = true;
  if (wanted !== null) media.currentTime = wanted;
  wanted = null;
});
media.addEventListener("error", () => {
  playable = false;
  document.getElementById("lost").hidden = false;
});
if (media.error) media.dispatchEvent(new Event("error"));
document.getElementById("pick")?.addEventListener("change", (event) => {
  const file = event.target.files[0];
  if (!file) return;
  if (media.src.startsWith("blob:")) URL.revokeObjectURL(media.src);
  wanted = time;
  media.src = URL.createObjectURL(file);
});

const timeAt = (event) => {
  const box = timeline.getBoundingClientRect();
  const share = (event.clientX - box.left - GUTTER) / (box.width - GUTTER);
  return view.start + share * (view.end - view.start);
};
timeline.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  timeline.setPointerCapture(event.pointerId);
  timeline.focus({ preventScroll: true });
  seek(timeAt(event), false);
});
timeline.addEventListener("pointermove", (event) => {
  if (timeline.hasPointerCapture(event.pointerId)) seek(Math.min(view.end, Math.max(view.start, timeAt(event))), false);
});
timeline.addEventListener("wheel", (event) => {
  if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : .8, timeAt(event));
  else if (event.deltaX) look(view.start + event.deltaX * (view.end - view.start) / timeline.clientWidth, view.end - view.start);
  else return;
  event.preventDefault();
}, { passive: false });

const play = () => { if (playable) { if (media.paused) media.play(); else media.pause(); } };
const KEYS = {
  ArrowLeft: () => seek(time - data.hop), ArrowRight: () => seek(time + data.hop),
  PageUp: () => seek(time - (view.end - view.start) / 10), PageDown: () => seek(time + (view.end - view.start) / 10),
  Home: () => seek(0), End: () => seek(data.end), " ": play,
  "+": () => zoom(.5), "-": () => zoom(2), "0": () => look(0, data.end),
};
timeline.addEventListener("keydown", (event) => {
  const act = event.ctrlKey || event.altKey || event.metaKey ? null : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.getElementById("closer").addEventListener("click", () => zoom(.5));
document.getElementById("wider").addEventListener("click", () => zoom(2));
document.getElementById("all").addEventListener("click", () => look(0, data.end));
pan.addEventListener("input", () => look(Number(pan.value), view.end - view.start));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-t]");
  if (button) seek(Number(button.dataset.t));
});
const whose = document.getElementById("whose");
if (whose) whose.addEventListener("change", () => {
  for (const row of document.querySelectorAll("#segments tr[data-who]"))
    row.hidden = whose.value !== "" && row.dataset.who !== whose.value;
});
const redraw = () => { if (data) draw(); };
new ResizeObserver(() => { if (timeline.clientWidth !== drawn) requestAnimationFrame(redraw); }).observe(timeline);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
const given = document.getElementById("data");
if (given) show(JSON.parse(given.textContent));

// Voice and face fused anew from the branches' log-probabilities, as `avser.app.choices` does it in Python.
// A view is described in `avser.app.view`; a choice is {voice: 0…1 or null, without: "audio", "face" or null}.

const WORDS = { audio: "the voice is left out", face: "the face is left out" };
const LEAST = 1e-12, MERGE_GAP = 1e-6;

const sum = (values) => values.reduce((a, b) => a + b, 0);
const best = (probs) => probs.indexOf(Math.max(...probs));

/** Probabilities in thousandths from scores. */
export function softmax(scores) {
  const most = Math.max(...scores), powers = scores.map((x) => Math.exp(x - most)), total = sum(powers);
  return powers.map((x) => 1000 * x / total);
}

/** log p ∝ s · (v · log p_voice + (1 - v) · log p_face), in thousandths. */
export function fuse(voice, face, share, sharpness) {
  return softmax(voice.map((x, c) => sharpness * (share * x + (1 - share) * face[c])));
}

/** A view with another weight, or without a modality. */
export function revised(view, choice) {
  if (!view.fusion || (choice.voice === null && choice.without === null)) return view;
  const words = [...view.words];
  let left = choice.without && words.indexOf(WORDS[choice.without]);
  if (left === -1) left = words.push(WORDS[choice.without]) - 1;
  const again = (lane) => lane1(lane, choice, view.fusion.sharpness, left);
  const lanes = view.lanes.map((lane) => {
    const made = again(lane);
    if (view.smooth > 0) made.probs.fused = smooth(made.probs.fused, lane.centres, view.smooth);
    made.segments = segments(lane.times, made.probs.fused);
    return made;
  });
  const rows = view.rows.filter((row) => row.key !== choice.without);
  return { ...view, words, rows, lanes, overall: view.overall.map(again) };
}

/** One lane anew, before it is smoothed. */
function lane1(lane, choice, sharpness, left) {
  const names = ["audio", "face"].filter((name) => name in lane.logs && name !== choice.without);
  const made = { ...lane, reasons: [...lane.reasons], probs: {}, weights: {} };
  for (const name of names) [made.probs[name], made.weights[name]] = [lane.probs[name], []];
  made.probs.fused = lane.centres.map((_, i) => {
    const said = names.filter((name) => lane.logs[name][i]);
    for (const name of names) made.weights[name].push(weight(name, said, choice.voice));
    if (said.length === 2) return fuse(lane.logs.audio[i], lane.logs.face[i], choice.voice, sharpness);
    if (said.length === 1) return softmax(lane.logs[said[0]][i]);
    if (lane.logs[choice.without]?.[i]) made.reasons[i] = left;
    return null;
  });
  return made;
}

function weight(name, said, voice) {
  if (!said.includes(name)) return null;
  if (said.length === 1) return 1000;
  return 1000 * (name === "audio" ? voice : 1 - voice);
}

/** Fused distributions averaged over time, as `avser.timeline.smooth` does it. */
export function smooth(probs, centres, seconds) {
  const places = probs.flatMap((row, i) => (row ? [i] : [])), done = [...probs];
  if (!places.length) return done;
  const total = places.map((i) => [...probs[i].map((p) => Math.log(Math.max(p / 1000, LEAST))), 1]);
  const decay = places.slice(1).map((i, k) => Math.exp(-(centres[i] - centres[places[k]]) / seconds));
  const ahead = total.map((row) => [...row]), behind = total.map((row) => [...row]);
  for (let k = 1; k < total.length; k++) ahead[k] = ahead[k].map((x, c) => x + decay[k - 1] * ahead[k - 1][c]);
  for (let k = total.length - 2; k >= 0; k--) behind[k] = behind[k].map((x, c) => x + decay[k] * behind[k + 1][c]);
  places.forEach((i, k) => {
    const both = total[k].map((x, c) => ahead[k][c] + behind[k][c] - x), count = both.pop();
    done[i] = softmax(both.map((x) => x / count));
  });
  return done;
}

/** Stretches [start, end, label] of one emotion, as `avser.timeline.segments` finds them. */
export function segments(times, probs) {
  const found = [];
  probs.forEach((row, i) => {
    if (!row) return;
    const [start, end, label] = [times[2 * i], times[2 * i + 1], best(row)], last = found[found.length - 1];
    if (last && last[2] === label && start - last[1] <= MERGE_GAP) last[1] = end;
    else found.push([start, end, label]);
  });
  return found;
}

/** Several views of one recording as one, the lanes of the first model first; over all their emotions. */
export function merged(views) {
  if (views.length === 1) return views[0];
  const labels = [...new Set(views.flatMap((view) => view.labels))], words = [];
  const colours = labels.map((label) => {
    const view = views.find((one) => one.labels.includes(label));
    return view.colours[view.labels.indexOf(label)];
  });
  const rows = ["audio", "face", "fused"].flatMap(
    (key) => views.flatMap((view) => view.rows.filter((row) => row.key === key)).slice(0, 1));
  const parts = views.map((view) => {
    const offset = words.length, place = view.labels.map((label) => labels.indexOf(label));
    words.push(...view.words);
    const number = (word) => (word === null ? null : word + offset);
    const spread = (row) => row && labels.map((label) => row[view.labels.indexOf(label)] ?? 0);
    const moved = (lane) => ({
      ...lane,
      name: `${lane.name} · ${view.model}`, title: `${lane.title} · ${view.model}`,
      probs: Object.fromEntries(Object.entries(lane.probs).map(([key, list]) => [key, list.map(spread)])),
      reasons: lane.reasons.map(number), notes: lane.notes.map(number),
      segments: lane.segments.map(([start, end, c]) => [start, end, place[c]]),
    });
    return { lanes: view.lanes.map(moved), overall: view.overall.map(moved) };
  });
  return {
    ...views[0], labels, colours, rows, words,
    end: Math.max(...views.map((view) => view.end)),
    lanes: parts.flatMap((part) => part.lanes), overall: parts.flatMap((part) => part.overall),
  };
}

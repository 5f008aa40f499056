// The page from a file to its result. The result itself is drawn in results.js.
/* global media, clock, element */ // of timeline.js
import * as recorder from "./recorder.js";
import * as results from "./results.js";
import * as server from "./server.js";

const find = (id) => document.getElementById(id);
const SETTINGS = ["window", "hop", "smooth", "max_faces"];
let limits = null, formats = [], models = [], going = null;

function complain(text) {
  find("error").textContent = text;
  find("error").hidden = !text;
  if (text) find("error").scrollIntoView({ block: "nearest" });
}

function say(text, share) {
  find("stage").textContent = text;
  if (share === null || share === undefined) find("progress").removeAttribute("value");
  else find("progress").value = share;
}

/** The settings of the form, or null where one is out of range. */
function settings() {
  const wrong = SETTINGS.map(find).find((input) => !input.checkValidity());
  if (wrong) {
    wrong.closest("details").open = true;
    wrong.reportValidity();
    return null;
  }
  const values = Object.fromEntries(SETTINGS.map((name) => [name, find(name).value]));
  return { ...values, vad: find("vad").checked, model: find("model").value };
}

function unfit(file) {
  if (!file.size) return `${file.name || "The file"} is empty: give a video or sound file.`;
  const most = limits.upload_bytes;
  if (file.size > most) {
    return `${file.name || "The file"} is larger than ${(most / 1e6).toFixed(0)} MB: shorten it, or raise --max-upload.`;
  }
  return "";
}

function far(job, model) {
  const ahead = job.position;
  if (ahead !== null) return say(ahead ? `Waiting: ${ahead} before it in the queue` : "Waiting: next in the queue");
  if (job.second === null) return say(`Beginning (${model})`);
  const end = job.duration ? ` of ${clock(job.duration)}` : "";
  return say(`Looking and listening (${model}): ${clock(job.second)}${end}`, job.duration ? job.second / job.duration : null);
}

/** One model's result for the recording; `begin` puts it in the queue. */
async function one(begin, model, made, signal) {
  const job = await begin();
  made.push(job.id);
  await server.finished(job.id, (state) => far(state, model), signal);
  return { id: job.id, view: await server.get(`jobs/${job.id}/view`, signal) };
}

/** Takes a recording from upload to result. */
async function take(file, name) {
  complain("");
  const asked = settings(), wrong = unfit(file);
  if (!asked) return;
  if (wrong) { complain(wrong); return; }
  going?.abort();
  const { signal } = (going = new AbortController()), made = [], beside = find("beside").value;
  forget();
  show(file);
  find("work").hidden = false;
  say("Uploading", 0);
  find("work").scrollIntoView({ block: "nearest" });
  try {
    const up = (share) => say("Uploading", share);
    const jobs = [await one(() => server.upload(file, name, asked, up, signal), asked.model, made, signal)];
    if (beside && beside !== asked.model) {
      const other = { ...asked, model: beside };
      jobs.push(await one(() => server.again(made[0], other, signal), beside, made, signal));
    }
    results.display(jobs, formats);
    find("kept").textContent = `They are deleted after ${limits.keep_minutes} min in any case.`;
  } catch (error) {
    made.forEach(server.drop);
    if (error.name !== "AbortError") complain(error.message);
  } finally {
    if (going?.signal === signal) {
      going = null;
      find("work").hidden = true;
    }
  }
}

function show(file) {
  if (media.src.startsWith("blob:")) URL.revokeObjectURL(media.src);
  media.src = URL.createObjectURL(file);
}

function forget() {
  results.ids().forEach(server.drop);
  results.clear();
}

// What the user does

find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // so that the same file can be chosen again
  if (file) take(file, file.name);
});
for (const name of ["sample", "conversation"]) {
  find(name).addEventListener("click", async () => {
    const answer = await fetch(`examples/${name}.mp4`).catch(() => null);
    if (!answer?.ok) { complain("The sample clip cannot be had: is avser app still running?"); return; }
    take(await answer.blob(), `${name}.mp4`);
  });
}
find("cancel").addEventListener("click", () => {
  going?.abort();
  find("file").focus();
});
find("forget").addEventListener("click", () => {
  forget();
  media.removeAttribute("src");
  find("file").focus();
});
recorder.setUp(take, complain, () => limits.seconds);

const drop = find("drop");
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (file) take(file, file.name);
});
addEventListener("pagehide", (event) => { if (!event.persisted) results.ids().forEach(server.drop); });

async function begin() {
  try {
    const [health, known, kinds] = await Promise.all(["health", "models", "formats"].map((path) => server.get(path)));
    [limits, models, formats] = [health.limits, known, kinds];
  } catch (error) {
    complain(error.message);
    return;
  }
  find("limits").textContent =
    `At most ${(limits.upload_bytes / 1e6).toFixed(0)} MB and ${limits.seconds / 60} min; deleted after ${limits.keep_minutes} min.`;
  for (const id of ["model", "beside"]) {
    find(id).append(...models.map((model) => new Option(`${model.name} (${model.modalities.join(", ")})`, model.name)));
  }
  find("model").value = models[0].name;
  find("curl").textContent = find("curl").textContent.replace("ADDRESS", location.origin);
  document.documentElement.dataset.ready = "yes";
}
begin();

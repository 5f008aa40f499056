// What the page asks of the server. What goes wrong is an Error with one sentence.

const LOST = "the server cannot be reached: is avser app still running?";
const GLANCE = 400;

/** The answer's JSON, or an error with the sentence that came instead. */
async function told(answer) {
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error || `the server answers with status ${answer.status}`);
  return said;
}

async function ask(path, options) {
  const answer = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error(LOST);
  });
  return answer;
}

export const get = async (path, signal) => told(await ask(path, { signal }));
export const drop = (id) => fetch(`jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});

/** Uploads a file; `progress` is told the share that has gone up. */
export function upload(file, name, settings, progress, signal) {
  const form = new FormData();
  for (const [key, value] of Object.entries(settings)) form.append(key, value);
  form.append("file", file, name);
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", "jobs");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.lengthComputable ? event.loaded / event.total : null);
    request.onload = () => {
      if (request.status === 202) done(request.response);
      else fail(new Error(request.response?.error || `the server answers with status ${request.status}`));
    };
    request.onerror = () => fail(new Error(LOST));
    request.onabort = () => fail(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** The same recording once more, with other settings. */
export async function again(id, settings, signal) {
  return told(await ask(`jobs/${id}/again`, { method: "POST", body: new URLSearchParams(settings), signal }));
}

/** Waits until a job is done; `progress` is told how far it is. */
export async function finished(id, progress, signal) {
  for (;;) {
    const job = await get(`jobs/${id}`, signal);
    if (job.state === "failed") throw new Error(job.error);
    if (job.state === "done") return job;
    progress(job);
    await new Promise((done) => setTimeout(done, GLANCE));
    signal.throwIfAborted();
  }
}

/** A result in a format, as a blob; a choice as in `fusion.js`. */
export async function file(id, format, choice) {
  const query = new URLSearchParams();
  if (choice.voice !== null) query.set("voice", choice.voice);
  if (choice.without !== null) query.set("without", choice.without);
  const answer = await ask(`jobs/${id}/files/${format}?${query}`);
  if (!answer.ok) await told(answer);
  return answer.blob();
}

// Recording from camera and microphone. Nothing leaves the browser before the recording is stopped.

const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const find = (id) => document.getElementById(id);

/** Lets the user record, and hands the recording to `take(blob, name)`; `complain` is told what does not work. */
export function setUp(take, complain, mostSeconds) {
  const part = find("camera"), preview = find("preview");
  let stream = null, recorder = null, ticking = 0;

  function close() {
    clearInterval(ticking);
    if (recorder && recorder.state !== "inactive") { recorder.onstop = null; recorder.stop(); }
    for (const track of stream?.getTracks() || []) track.stop();
    stream = recorder = preview.srcObject = null;
    part.hidden = true;
    [find("begin").hidden, find("stop").hidden, find("taken").value] = [false, true, ""];
  }

  find("record").addEventListener("click", async () => {
    close();
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      complain("This page cannot use the camera: browsers allow it at localhost and over https only.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: true });
    } catch (error) {
      const why = error.name === "NotAllowedError" ? "the browser was told not to allow it" : "none was found";
      complain(`Camera and microphone cannot be used: ${why}.`);
      return;
    }
    preview.srcObject = stream;
    part.hidden = false;
    preview.play();
    find("begin").focus();
  });

  find("begin").addEventListener("click", () => {
    const kind = KINDS.find((one) => MediaRecorder.isTypeSupported(one)), chunks = [], began = Date.now();
    recorder = new MediaRecorder(stream, kind ? { mimeType: kind } : {});
    recorder.ondataavailable = (event) => chunks.push(event.data);
    recorder.onstop = () => {
      const type = recorder.mimeType;
      close();
      take(new Blob(chunks, { type }), type.includes("mp4") ? "recording.mp4" : "recording.webm");
    };
    recorder.start(1000);
    [find("begin").hidden, find("stop").hidden] = [true, false];
    find("stop").focus();
    ticking = setInterval(() => {
      const seconds = (Date.now() - began) / 1000;
      find("taken").value = `recording: ${Math.floor(seconds)} s`;
      if (seconds >= mostSeconds()) find("stop").click();
    }, 250);
  });

  find("stop").addEventListener("click", () => { if (recorder?.state === "recording") recorder.stop(); });
  find("leave").addEventListener("click", () => { close(); find("record").focus(); });
}

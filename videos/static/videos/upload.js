// Uploads in pieces that go on after a break: by tus, from the form that works without it, too.
import { duration } from "./duration.js";

const form = document.getElementById("upload");
const chooser = form.elements.recordings;
const drop = document.getElementById("drop");
const list = document.getElementById("uploads");
const said = list.dataset;
const token = form.elements.csrfmiddlewaretoken.value;
//: A multiple of what buckets take; so much is sent again at the most after a break.
const PIECE_BYTES = 32 * 1024 * 1024;
const RETRIES_MS = [0, 1000, 3000, 5000, 10000, 20000, 30000, 60000, 60000, 60000];
const problem = document.getElementById("problem");
let going = 0;

function row(name, size) {
  const found = [...list.children].find(
    (each) => each.dataset.name === name && Number(each.dataset.size) === size && !each.classList.contains("done"));
  if (found) return found;
  const made = document.createElement("li");
  made.dataset.name = name;
  made.dataset.size = size;
  const title = document.createElement("span");
  title.className = "title";
  title.textContent = form.elements.title.value || name;
  const progress = document.createElement("progress");
  progress.max = size;
  progress.value = 0;
  progress.setAttribute("aria-label", name);
  const status = document.createElement("span");
  status.className = "status";
  made.append(title, progress, status);
  list.prepend(made);
  document.getElementById("coming").hidden = false;
  return made;
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function tell(item, text, isWrong = false) {
  const status = item.querySelector(".status");
  status.textContent = text;
  status.classList.toggle("error", isWrong);
}

async function begin(file) {
  const fields = new FormData(form);
  fields.delete("recordings");
  fields.set("filename", file.name);
  fields.set("size", file.size);
  const answer = await fetch(form.dataset.begin, { method: "POST", body: fields });
  if (answer.ok) return (await answer.json()).url;
  const type = answer.headers.get("Content-Type") ?? "";
  const errors = type.includes("json") ? (await answer.json()).errors : {};
  const messages = Object.values(errors).flat().map((error) => error.message);
  throw new Error(messages.join(" ") || `${answer.status} ${answer.statusText}`);
}

function minutes(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 60 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}

async function send(file) {
  const item = row(file.name, file.size);
  if (item.classList.contains("going")) return;
  try {
    item.dataset.url ??= await begin(file);
  } catch (error) {
    tell(item, error.message, true);
    return;
  }
  const progress = item.querySelector("progress");
  let beganAt = 0;
  let beganWith = 0;
  let isStopped = false;
  const upload = new tus.Upload(file, {
    uploadUrl: item.dataset.url,
    chunkSize: PIECE_BYTES,
    retryDelays: RETRIES_MS,
    storeFingerprintForResuming: false,
    headers: { "X-CSRFToken": token },
    onShouldRetry: (error) => {
      const status = error.originalResponse?.getStatus() ?? 0;
      if (![403, 404, 413].includes(status)) tell(item, said.saidWaiting);
      return ![403, 404, 413].includes(status);
    },
    onProgress: (sent) => {
      if (isStopped) return;
      if (!beganAt) [beganAt, beganWith] = [Date.now(), sent];
      progress.value = sent;
      const pace = (sent - beganWith) / (Date.now() - beganAt);
      const left = pace > 0 ? ` · ${minutes((file.size - sent) / pace / 1000)} ${said.left}` : "";
      tell(item, `${Math.floor((100 * sent) / file.size)}% · ${said.saidGoing}${left}`);
    },
    onError: (error) => {
      end();
      pause.textContent = said.go;
      isStopped = true;
      tell(item, `${said.saidFailed}: ${error.originalResponse?.getBody() || error.message}`, true);
    },
    onSuccess: () => {
      end();
      item.classList.add("done");
      pause.remove();
      remove.remove();
      progress.value = file.size;
      item.querySelector(".status").textContent = "";
      const link = document.createElement("a");
      link.href = form.dataset.library;
      link.textContent = said.saidDone;
      item.querySelector(".status").append(link);
    },
  });
  function end() {
    if (item.classList.contains("going")) going -= 1;
    item.classList.remove("going");
  }
  function start() {
    going += 1;
    item.classList.add("going");
    isStopped = false;
    beganAt = 0;
    pause.textContent = said.pause;
    upload.start();
  }
  const pause = button(said.pause, () => {
    if (isStopped) { start(); return; }
    isStopped = true;
    upload.abort();
    end();
    pause.textContent = said.go;
    tell(item, said.saidPaused);
  });
  const remove = button(said.remove, async () => {
    isStopped = true;
    upload.abort();
    end();
    await fetch(item.dataset.url, { method: "DELETE", headers: { "X-CSRFToken": token } });
    item.remove();
  });
  for (const old of item.querySelectorAll("button")) old.remove();
  item.append(pause, remove);
  start();
}

async function sendAll(files) {
  problem.textContent = "";
  for (const file of files) await send(file);
  chooser.value = "";
  form.elements.title.value = "";
  form.elements.captions.value = "";
}

const estimate = document.getElementById("estimate");
const perHour = estimate?.textContent;

async function tellCost() {
  const files = [...chooser.files];
  const seconds = await Promise.all(files.map(duration));
  const isKnown = files.length > 0 && seconds.every((each) => each !== null);
  const hours = seconds.reduce((sum, each) => sum + each, 0) / 3600;
  estimate.textContent = isKnown
    ? estimate.dataset.said
        .replace("{minutes}", Math.ceil(hours * 60))
        .replace("{usd}", Math.max(0.01, hours * estimate.dataset.usdPerHour).toFixed(2))
    : perHour;
}

if (estimate) chooser.addEventListener("change", tellCost);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (chooser.files.length) sendAll([...chooser.files]);
  else chooser.click();
});
for (const kind of ["dragover", "dragenter"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  sendAll([...event.dataTransfer.files]);
});
addEventListener("beforeunload", (event) => { if (going) event.preventDefault(); });

for (const item of list.children) {
  item.append(button(said.remove, async () => {
    await fetch(item.dataset.url, { method: "DELETE", headers: { "X-CSRFToken": token } });
    item.remove();
  }));
}

// Correcting line by line: saved when a line is left, split by Enter, joined by Backspace.
const form = document.getElementById("edit");
const list = form.querySelector(".lines");
const player = document.getElementById("player");
const said = form.dataset;
const token = form.elements.csrfmiddlewaretoken.value;
let stopAt = Infinity;
//: Splits and joins that Ctrl+Z takes back, the last first; they outlive the page's reloading.
const UNDO = `chronos.undo${location.pathname}`;
const undoable = JSON.parse(sessionStorage.getItem(UNDO) ?? "[]");
let isTextNewer = false;
let work = Promise.resolve();

document.querySelector(".save").hidden = true;

const textOf = (line) => line.querySelector("textarea");
const versionOf = (line) => line.querySelector("input[type=hidden]");
const tell = (line, text, isWrong = false) => {
  const state = line.querySelector(".state");
  state.replaceChildren(text);
  state.classList.toggle("error", isWrong);
};

function fit(area) {
  area.style.setProperty("height", "auto");
  area.style.setProperty("height", `${area.scrollHeight + 2}px`);
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const rest = String(whole % 60).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// --- Playing ---------------------------------------------------------------------------
function play(line) {
  player.currentTime = Number(line.dataset.start);
  stopAt = Number(line.dataset.end);
  player.play().catch(() => {});
}

player.addEventListener("timeupdate", () => {
  if (player.currentTime >= stopAt) {
    player.pause();
    stopAt = Infinity;
  }
});

// --- Saving ----------------------------------------------------------------------------
async function post(fields) {
  const body = new URLSearchParams(fields);
  const answer = await fetch(said.change, {
    method: "POST", body, headers: { "X-CSRFToken": token, Accept: "application/json" } });
  const type = answer.headers.get("Content-Type") ?? "";
  const document = type.includes("json") ? await answer.json() : { error: `${answer.status}` };
  return { ok: answer.ok, status: answer.status, ...document };
}

// One change after the other: the next one knows the versions that the one before has made.
function queued(act) {
  work = work.then(act, act);
  return work;
}

const seen = (line, name = "line") => ({
  [name]: line.dataset.id, [`${name}_version`]: versionOf(line).value });

function put(line, is) {
  line.dataset.id = is.id;
  line.dataset.start = is.start;
  line.dataset.end = is.end;
  line.querySelector(".time").textContent = clock(is.start);
  versionOf(line).value = is.version;
  textOf(line).dataset.saved = is.text;
}

function conflict(line, answer) {
  const [theirs] = answer.lines ?? [];
  tell(line, `${answer.error} `, true);
  if (!theirs) return;
  const quote = document.createElement("q");
  quote.textContent = theirs.text;
  const take = button(said.theirs, () => { textOf(line).value = theirs.text; fit(textOf(line)); put(line, theirs); tell(line, ""); });
  const keep = button(said.mine, () => { put(line, theirs); save(line); });
  line.querySelector(".state").append(quote, " ", take, " ", keep);
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function save(line) {
  return queued(async () => {
    const area = textOf(line);
    if (!line.isConnected || area.value.trim() === area.dataset.saved.trim()) return true;
    tell(line, said.saving);
    const sent = area.value;
    const answer = await post({ do: "text", text: sent, ...seen(line) }).catch((error) => ({ error: error.message }));
    if (answer.ok) {
      put(line, answer.lines[0]);
      area.classList.add("corrected");
      line.classList.remove("doubtful");
      tell(line, said.saved);
      return true;
    }
    if (answer.status === 409) conflict(line, answer);
    else tell(line, `${said.failed}: ${answer.error}`, true);
    return false;
  });
}

async function split(line, at) {
  if (!(await save(line))) return;
  await queued(async () => {
    const answer = await post({ do: "split", at, ...seen(line) });
    if (!answer.ok) { answer.status === 409 ? conflict(line, answer) : tell(line, answer.error, true); return; }
    const added = line.cloneNode(true);
    line.after(added);
    for (const [each, is] of [[line, answer.lines[0]], [added, answer.lines[1]]]) {
      textOf(each).value = is.text;
      textOf(each).name = `text-${is.id}`;
      versionOf(each).name = `version-${is.id}`;
      put(each, is);
      fit(textOf(each));
      tell(each, "");
    }
    remember(answer.correction);
    textOf(added).focus();
    textOf(added).setSelectionRange(0, 0);
  });
}

async function join(line) {
  const before = line.previousElementSibling;
  if (!before || !(await save(before)) || !(await save(line))) return;
  await queued(async () => {
    const answer = await post({ do: "join", ...seen(before), ...seen(line, "next") });
    if (!answer.ok) { answer.status === 409 ? conflict(line, answer) : tell(line, answer.error, true); return; }
    const at = textOf(before).value.length;
    line.remove();
    textOf(before).value = answer.lines[0].text;
    put(before, answer.lines[0]);
    fit(textOf(before));
    remember(answer.correction);
    textOf(before).focus();
    textOf(before).setSelectionRange(at, at);
  });
}

function remember(correction) {
  undoable.push(correction);
  sessionStorage.setItem(UNDO, JSON.stringify(undoable));
  isTextNewer = false;
}

async function undoStructural() {
  const address = `${said.history}${undoable.pop()}/`;
  sessionStorage.setItem(UNDO, JSON.stringify(undoable));
  const answer = await fetch(address, {
    method: "POST", headers: { "X-CSRFToken": token, Accept: "application/json" } });
  if (!answer.ok) return;
  sessionStorage.setItem(`${UNDO}.line`, [...list.children].indexOf(document.activeElement?.closest("li")));
  location.reload();
}

// --- Keys ------------------------------------------------------------------------------
list.addEventListener("input", (event) => { fit(event.target); isTextNewer = true; });
list.addEventListener("focusout", (event) => {
  if (event.target.matches("textarea")) save(event.target.closest("li"));
});
list.addEventListener("keyup", (event) => {
  if (event.key === "Tab" && event.target.matches("textarea")) play(event.target.closest("li"));
});
list.addEventListener("keydown", (event) => {
  const area = event.target;
  if (!area.matches("textarea")) return;
  const line = area.closest("li");
  if (event.key === "Enter") {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) play(line);
    else if (area.selectionStart < area.value.trimEnd().length) split(line, area.selectionStart);
    else if (line.nextElementSibling) textOf(line.nextElementSibling).focus();
  } else if (event.key === "Backspace" && area.selectionStart === 0 && area.selectionEnd === 0) {
    event.preventDefault();
    join(line);
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey) && undoable.length && !isTextNewer) {
    event.preventDefault();
    undoStructural();
  }
});
list.addEventListener("click", (event) => {
  const time = event.target.closest(".time");
  if (!time) return;
  event.preventDefault();
  play(time.closest("li"));
});
addEventListener("beforeunload", (event) => {
  const unsaved = [...list.querySelectorAll("textarea")].some((area) => area.value.trim() !== area.dataset.saved.trim());
  if (unsaved) event.preventDefault();
});

for (const area of list.querySelectorAll("textarea")) {
  area.dataset.saved = area.value;
  fit(area);
}

// After Ctrl+Z has loaded the page anew, the reader is where they were.
const line = sessionStorage.getItem(`${UNDO}.line`);
if (line !== null) {
  sessionStorage.removeItem(`${UNDO}.line`);
  list.children[Math.max(0, Number(line))]?.querySelector("textarea").focus();
}

// The transcript beside the player: follows it, seeks in it, is searched.
const player = document.getElementById("player");
const list = document.getElementById("transcript");
const lines = [...list.children];
const starts = lines.map((line) => Number(line.dataset.start));
const follow = document.getElementById("follow");
const inside = document.getElementById("inside");
const count = document.getElementById("count");
const help = document.getElementById("help");
const said = document.getElementById("said");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const SEEK_S = 10;
const RATES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];

document.querySelector(".tools").hidden = false;

// --- Playing ---------------------------------------------------------------------------
let current = -1;
let isFollowing = true;
let isScrolling = false;

function at(seconds) {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= seconds + 0.05) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function show(line) {
  isScrolling = true;
  const to = line.offsetTop - list.clientHeight / 3;
  list.scrollTo({ top: to, behavior: calm.matches ? "auto" : "smooth" });
  setTimeout(() => { isScrolling = false; }, 600);
}

function mark() {
  const now = at(player.currentTime);
  if (now === current) return;
  lines[current]?.removeAttribute("aria-current");
  current = now;
  lines[current]?.setAttribute("aria-current", "true");
  if (isFollowing && lines[current]) show(lines[current]);
}

function setFollowing(on) {
  isFollowing = on;
  follow.hidden = on;
  if (on && lines[current]) show(lines[current]);
}

function seek(seconds, play = true) {
  player.currentTime = seconds;
  if (play) player.play().catch(() => {});
  const address = new URL(location.href);
  address.searchParams.set("t", seconds.toFixed(1).replace(/\.0$/, ""));
  history.replaceState(null, "", address);
}

player.addEventListener("error", () => { document.getElementById("unplayable").hidden = false; });
player.addEventListener("loadedmetadata", () => { document.getElementById("unplayable").hidden = true; });
player.addEventListener("timeupdate", mark);
player.addEventListener("seeked", mark);
list.addEventListener("wheel", () => setFollowing(false), { passive: true });
list.addEventListener("touchmove", () => setFollowing(false), { passive: true });
list.addEventListener("scroll", () => { if (!isScrolling && document.activeElement === list) setFollowing(false); });
follow.addEventListener("click", () => setFollowing(true));
list.addEventListener("click", (event) => {
  if (getSelection().toString()) return;
  const line = event.target.closest("li");
  if (!line) return;
  event.preventDefault();
  seek(Number(line.dataset.start));
  setFollowing(true);
});

document.querySelector(".chapters")?.addEventListener("click", (event) => {
  const chapter = event.target.closest("[data-start]");
  if (!chapter) return;
  event.preventDefault();
  seek(Number(chapter.dataset.start));
  setFollowing(true);
});

// --- Searching -------------------------------------------------------------------------
let matches = [];
let chosen = -1;

function unmark() {
  for (const found of list.querySelectorAll("mark")) found.replaceWith(...found.childNodes);
  list.normalize();
}

function search() {
  unmark();
  matches = [];
  chosen = -1;
  const wanted = inside.value.trim().toLowerCase();
  if (wanted) {
    for (const line of lines) {
      for (const node of [...line.querySelector(".line").childNodes]) {
        if (node.nodeType !== Node.TEXT_NODE) continue;
        let rest = node;
        for (let found; (found = rest.data.toLowerCase().indexOf(wanted)) >= 0;) {
          const hit = rest.splitText(found);
          rest = hit.splitText(wanted.length);
          const marked = document.createElement("mark");
          hit.replaceWith(marked);
          marked.append(hit);
          matches.push(marked);
        }
      }
    }
  }
  choose(matches.length ? 0 : -1);
}

function choose(number) {
  matches[chosen]?.classList.remove("chosen");
  chosen = matches.length ? (number + matches.length) % matches.length : -1;
  count.textContent = inside.value.trim() ? `${chosen + 1} / ${matches.length}` : "";
  if (chosen < 0) return;
  matches[chosen].classList.add("chosen");
  setFollowing(false);
  show(matches[chosen].closest("li"));
}

inside.addEventListener("input", search);
inside.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    choose(chosen + (event.shiftKey ? -1 : 1));
  }
  if (event.key === "Escape") { inside.value = ""; search(); list.focus(); }
});
document.getElementById("next").addEventListener("click", () => choose(chosen + 1));
document.getElementById("previous").addEventListener("click", () => choose(chosen - 1));

// --- Keys ------------------------------------------------------------------------------
async function copy() {
  const line = lines[Math.max(current, 0)];
  const address = new URL(location.pathname, location.href);
  address.searchParams.set("t", line.dataset.start);
  const text = line.querySelector(".line").textContent.trim();
  await navigator.clipboard.writeText(`“${text}” ${address}`);
  said.textContent = text;
  said.classList.add("shown");
  setTimeout(() => said.classList.remove("shown"), 1500);
}

function faster(by) {
  const now = RATES.indexOf(player.playbackRate);
  player.playbackRate = RATES[Math.min(Math.max(now + by, 0), RATES.length - 1)];
}

const KEYS = {
  k: () => (player.paused ? player.play() : player.pause()),
  " ": () => (player.paused ? player.play() : player.pause()),
  j: () => seek(Math.max(player.currentTime - SEEK_S, 0), false),
  l: () => seek(player.currentTime + SEEK_S, false),
  "<": () => faster(-1),
  ">": () => faster(1),
  "/": () => inside.focus(),
  n: () => choose(chosen + 1),
  N: () => choose(chosen - 1),
  c: copy,
  f: () => setFollowing(true),
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.closest("input, textarea, select, button, video, audio")) return;
  if (event.key === "Enter" && event.target === list && lines[current]) {
    seek(starts[current]);
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.getElementById("keys").addEventListener("click", () => help.showModal());

mark();

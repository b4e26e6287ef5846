// The search box: titles while one types, recent queries that only this browser knows.
const RECENT = "chronos.recent";
const KEPT = 8;
const WAIT_MS = 150;
const PATIENCE_MS = 700;

function recent() {
  try {
    return JSON.parse(localStorage.getItem(RECENT) ?? "[]");
  } catch {
    return [];
  }
}

for (const box of document.querySelectorAll("input[data-suggest]")) {
  const list = document.getElementById(box.getAttribute("list"));
  let timer = 0;
  const show = (words) => list.replaceChildren(...words.map((word) => new Option(word, word)));

  async function look() {
    const typed = box.value.trim();
    if (!typed) { show(recent()); return; }
    const answer = await fetch(`${box.dataset.suggest}?q=${encodeURIComponent(typed)}`).catch(() => null);
    if (!answer?.ok || box.value.trim() !== typed) return;
    const mine = recent().filter((query) => query.toLowerCase().includes(typed.toLowerCase()));
    show([...new Set([...mine, ...(await answer.json()).titles])]);
  }

  box.addEventListener("focus", look);
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, WAIT_MS); });
  box.form.addEventListener("submit", () => {
    const words = document.createElement("input");
    words.type = "hidden";
    words.name = "words";
    words.value = "1";
    box.form.append(words);
    const query = box.value.trim();
    if (query) localStorage.setItem(RECENT, JSON.stringify([query, ...recent().filter((each) => each !== query)].slice(0, KEPT)));
  });
}

// The page has what the words alone find. What is found by meaning as well takes its place: at
// once where it comes soon, and later where the service is slow.
async function better(found) {
  history.replaceState(null, "", found.dataset.better);
  found.hidden = true;
  const patience = setTimeout(() => { found.hidden = false; }, PATIENCE_MS);
  try {
    const answer = await fetch(found.dataset.better, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("found");
    if (answer.ok && fresh && !found.contains(document.activeElement)) found.replaceWith(fresh);
  } finally {
    clearTimeout(patience);
    found.hidden = false;
  }
}

const found = document.getElementById("found");
if (found?.dataset.better) better(found);

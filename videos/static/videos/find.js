// The search box: titles while one types, recent queries that only this browser knows.
const RECENT = "chronos.recent";
const KEPT = 8;
const WAIT_MS = 150;

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
    const query = box.value.trim();
    if (query) localStorage.setItem(RECENT, JSON.stringify([query, ...recent().filter((each) => each !== query)].slice(0, KEPT)));
  });
}

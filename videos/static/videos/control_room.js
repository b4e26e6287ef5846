// What changes by itself is kept fresh while somebody looks at it: every five seconds, never in a hidden tab.
const EVERY_MS = 5000;

async function refresh(part) {
  if (document.hidden || part.contains(document.activeElement)) return;
  try {
    const answer = await fetch(part.dataset.fresh, { headers: { Accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (fresh) part.replaceWith(fresh);
  } catch (error) {
    console.warn("The page could not be refreshed.", error);
  }
}

function refreshAll() {
  document.querySelectorAll("[data-fresh]").forEach(refresh);
}

setInterval(refreshAll, EVERY_MS);
document.addEventListener("visibilitychange", refreshAll);

// Keeps the list fresh while videos are processed: one request a look, none in a hidden tab.
const LOOK_MS = 2000;

async function look() {
  const list = document.getElementById("library");
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("library");
        if (fresh && fresh.innerHTML !== list.innerHTML) {
          const focused = list.contains(document.activeElement) && document.activeElement.href;
          list.replaceWith(fresh);
          if (focused) [...fresh.querySelectorAll("a")].find((a) => a.href === focused)?.focus();
        }
        if (fresh && !fresh.hasAttribute("data-live")) return;
      }
    } catch {
      // No network now: the next look may have it again.
    }
  }
  setTimeout(look, LOOK_MS);
}

setTimeout(look, LOOK_MS);

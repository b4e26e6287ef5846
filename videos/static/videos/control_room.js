// The control room is kept fresh while somebody looks at it: every five seconds, never in a hidden tab.
const EVERY_MS = 5000;

async function refresh() {
  const room = document.getElementById("control-room");
  if (!room || document.hidden || room.contains(document.activeElement)) return;
  try {
    const answer = await fetch(room.dataset.fresh, { headers: { Accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const section = fresh.getElementById("control-room");
    if (section) room.replaceWith(section);
  } catch (error) {
    console.warn("The control room could not be refreshed.", error);
  }
}

setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);

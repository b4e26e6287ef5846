// An answer as it comes, sentence by sentence; the links are ours, the texts are only texts.
const form = document.getElementById("ask");
const answer = document.getElementById("answer");

function paragraph(text, kind = "") {
  const made = document.createElement("p");
  made.className = kind;
  made.textContent = text;
  return made;
}

function show(sentence) {
  const line = paragraph(`${sentence.text} `);
  for (const source of sentence.sources) {
    const link = document.createElement("a");
    link.className = "source";
    link.href = source.url;
    link.title = source.title;
    link.textContent = source.time;
    line.append(link, " ");
  }
  return line;
}

async function ask() {
  const button = form.querySelector("button");
  const working = paragraph(form.dataset.working, "status");
  button.disabled = true;
  answer.replaceChildren(working);
  try {
    const response = await fetch(location.pathname, {
      method: "POST", body: new FormData(form), headers: { Accept: "text/event-stream" } });
    if (!response.ok || !response.headers.get("Content-Type").startsWith("text/event-stream")) throw new Error(response.status);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const said = JSON.parse(event.slice("data: ".length));
        if (!said.done) { working.before(show(said)); continue; }
        if (said.error) answer.append(paragraph(said.error, "error"));
        else if (said.refused) answer.append(paragraph(form.dataset.refused, "empty"));
      }
    }
  } catch {
    answer.append(paragraph(form.dataset.failed, "error"));
  }
  working.remove();
  button.disabled = false;
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });

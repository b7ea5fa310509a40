// Keeps the page as the server shows it now, and sends its forms without leaving it. The page works
// without this, too: then each look is a reload.
"use strict";

const EVERY = 1000;
const PATIENCE = 10000;
const live = document.getElementById("live");
const main = document.getElementById("main");
const dialog = document.getElementById("dialog");
let paused = false;
let sending = false;
let lostSince = "";

async function ask(url, options) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE), ...options });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { status: answer.status, page };
}

async function refresh() {
  if (!paused && !sending && !document.hidden) {
    try {
      const { status, page } = await ask(location.pathname + location.search);
      // A form may have been sent meanwhile: what it brought is newer.
      if (!sending && !paused) show(status, page);
      tell("");
    } catch {
      tell(lostSince || new Date().toLocaleTimeString());
    }
  }
  setTimeout(refresh, EVERY);
}

function show(status, page) {
  const now = page.getElementById("main");
  if (status === 401) {
    // Closed: the program was started anew, or the cookie is too old.
    location.reload();
  } else if (status === 200 && now) {
    const focused = document.activeElement;
    const section = focused?.closest("section");
    document.title = page.title;
    follow(main, now);
    // What had the focus is gone: it goes to the heading, and not to the top of the page.
    if (focused && !focused.isConnected) section?.querySelector("h2")?.focus();
  }
}

// Makes `old` like `now` and leaves alone what is the same, so that focus, selection and what
// somebody types stay. Elements with an id are found again by it.
function follow(old, now) {
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...now.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  let at = old.firstChild;
  for (const child of [...now.childNodes]) {
    let found = at;
    if (child.id) found = [...old.children].find((each) => each.id === child.id);
    else while (found?.id) found = found.nextSibling;
    if (!found || found.nodeName !== child.nodeName) {
      old.insertBefore(child, at);
      continue;
    }
    while (at && at !== found && !now.querySelector(`:scope > [id="${CSS.escape(at.id || "")}"]`)) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    if (found === at) at = at.nextSibling;
    else old.insertBefore(found, at);
    if (found.isEqualNode(child)) continue;
    if (found.nodeType === Node.ELEMENT_NODE) follow(found, child);
    else found.nodeValue = child.nodeValue;
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

async function send(form, button) {
  if (sending) return;
  sending = true;
  button?.setAttribute("aria-busy", "true");
  try {
    const body = new URLSearchParams(new FormData(form));
    const { status, page } = await ask(form.action, { method: "POST", body });
    const asked = page.querySelector("[data-dialog]");
    if (dialog.open) dialog.close();
    if (asked) {
      dialog.replaceChildren(document.adoptNode(asked));
      dialog.showModal();
      dialog.querySelector("[data-close]")?.focus();
    } else {
      form.reset();
      show(status, page);
    }
    tell("");
  } catch {
    tell(lostSince || new Date().toLocaleTimeString());
  } finally {
    button?.removeAttribute("aria-busy");
    sending = false;
  }
}

function tell(since) {
  lostSince = since;
  live.classList.toggle("lost", Boolean(since));
  live.classList.toggle("paused", paused);
  const words = since ? `No answer since ${since}` : paused ? "Paused" : "Live";
  if (words !== told.textContent) told.textContent = words;
}

const pulse = document.createElement("span");
const told = document.createElement("span");
const pause = document.createElement("button");
pulse.className = "pulse";
told.setAttribute("role", "status");
pause.type = "button";
pause.textContent = "Pause";
pause.setAttribute("aria-pressed", "false");
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  tell(lostSince);
});
live.replaceChildren(pulse, told, pause);

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  event.preventDefault();
  send(event.target, event.submitter);
});
dialog.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) {
    event.preventDefault();
    dialog.close();
  }
});

tell("");
setTimeout(refresh, EVERY);

// Keeps the status page fresh: fetches it every two seconds, and at once when
// bondd sends an event, and puts in place only what changed, so that focus,
// selection, scrolling and open details stay. Whatever it cannot fetch it says.

const every = 2000; // between two fetches, in ms
const patience = 4000; // for one fetch, in ms

const live = document.getElementById("live");
const lost = document.getElementById("lost");

let goodAt = new Date(); // when the page was last known to be true
let timer = 0;
let fetching = false;
let again = false; // something changed while a fetch was under way
let events = null;
let counters = sample(document); // of the page before

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  clearTimeout(timer);
  fetching = true;
  again = false;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(patience) });
    if (!answer.ok) throw new Error(answer.statusText);
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    connected();
  } catch {
    disconnected();
  }
  fetching = false;
  if (again) refresh();
  else if (!document.hidden) timer = setTimeout(refresh, every);
}

function connected() {
  goodAt = new Date();
  document.documentElement.classList.remove("stale");
  setText(live, document.documentElement.dataset.health === "unknown" ? "Not live" : "Live");
  lost.hidden = true;
}

function disconnected() {
  document.documentElement.classList.add("stale");
  const time = clock(goodAt);
  setText(live, "Not live");
  setText(lost, `Connection to bondd lost. Not live since ${time}. Showing the last known state.`);
  lost.hidden = false;
}

function show(next) {
  const script = 'script[type="module"]';
  if (next.querySelector(script)?.src !== document.querySelector(script).src) {
    location.reload(); // bondd was updated, and this script with it
    return;
  }
  const now = sample(next);
  if (now.ms > counters.ms || now.ms < counters.ms) {
    now.rates = rates(counters, now);
    counters = now;
  }
  fillRates(next, counters.rates);
  localTimes(next);
  document.title = next.title;
  document.documentElement.dataset.health = next.documentElement.dataset.health;
  for (const place of ['link[rel="icon"]', "main", "footer"]) {
    morph(document.querySelector(place), next.querySelector(place));
  }
}

// morph makes one element like another, changing no more than it must.
function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.id !== next.id) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const was = ids(old);
  const will = ids(next);
  const nodes = [...next.childNodes];
  nodes.forEach((node, i) => {
    let at = old.childNodes[i];
    // What has an id stays itself, whatever comes or goes before it.
    if (was.has(node.id)) {
      for (; at && at.id !== node.id; at = old.childNodes[i]) at.remove();
    }
    if (!at || (at.id !== node.id && will.has(at.id))) old.insertBefore(node, at ?? null);
    else morph(at, node);
  });
  while (old.childNodes.length > nodes.length) old.lastChild.remove();
}

function ids(element) {
  return new Set([...element.children].map((child) => child.id).filter(Boolean));
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// sample reads the counters that a page shows, and when they were read.
function sample(page) {
  const values = new Map();
  for (const cell of page.querySelectorAll("[data-counter]")) {
    values.set(cell.dataset.counter, Number(cell.dataset.value));
  }
  return { ms: Number(page.getElementById("main").dataset.ms), values, rates: new Map() };
}

// rates are per second. A counter that went back was reset, and has none.
function rates(before, now) {
  const found = new Map();
  const seconds = (now.ms - before.ms) / 1000;
  if (seconds <= 0) return found; // bondd was restarted
  for (const [name, value] of now.values) {
    const rate = (value - before.values.get(name)) / seconds;
    if (rate >= 0) found.set(name, rate);
  }
  return found;
}

function fillRates(page, found) {
  for (const cell of page.querySelectorAll("[data-rate]")) {
    cell.closest("tr").hidden = false;
    const rate = found.get(cell.dataset.rate);
    if (rate === undefined) continue;
    cell.textContent = cell.dataset.rate.endsWith("_bytes") ? `${bytes(rate)}/s` : `${Math.round(rate).toLocaleString("en")}/s`;
  }
}

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; n >= 999.5 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit === 0 || n >= 99.95 ? Math.round(n) : n.toPrecision(3)} ${units[unit]}`;
}

// localTimes turns the server's times into the reader's.
function localTimes(page) {
  const form = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  for (const time of page.querySelectorAll("time[data-clock]")) {
    time.textContent = form.format(new Date(time.dateTime));
  }
}

function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

function listen() {
  events = new EventSource("/api/v1/events");
  events.addEventListener("status", refresh);
  events.addEventListener("error", () => {
    // The browser connects again by itself, except after an answer that is an
    // error. Until then the page is fetched at its usual pace.
    if (events?.readyState === EventSource.CLOSED) setTimeout(wake, 5 * every);
    refresh();
  });
}

// A page that nobody sees rests, and leaves its connection to others.
function wake() {
  events?.close();
  events = null;
  clearTimeout(timer);
  if (document.hidden) return;
  listen();
  refresh();
}

live.hidden = false;
fillRates(document, counters.rates);
localTimes(document);
document.addEventListener("visibilitychange", wake);
wake();

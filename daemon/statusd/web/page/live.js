// Keeps the page as /state is: the whole from the first event, then each change, and the times by asking now and then.

const REFRESH = 5000; // milliseconds between questions for new times, while somebody looks
const ANSWER = 4000; // milliseconds that an answer may take
const RETRY = 3000; // milliseconds before a stream that the server has refused is tried again
const PATIENCE = 2; // answers in a row that may be ahead of a stream that says nothing
const GATHER = 1000; // milliseconds over which transitions are told together

// Time

let skew = 0; // milliseconds that the server's clock is ahead of ours

const now = () => Date.now() + skew;

function tick(element) {
  const since = now() - Date.parse(element.dateTime);
  if (!element.dateTime) put(element, "");
  else put(element, element.className === "seen" ? `seen ${age(since)} ago` : `for ${age(since)}`);
}

function tickAll() {
  for (const element of document.querySelectorAll("time")) tick(element);
  tellLoss();
}

/** Learns the server's time; its `Date` has whole seconds only, so that little differences mean nothing. */
function compareClocks(date) {
  const ahead = Date.parse(date) + 500 - Date.now();
  if (!Number.isNaN(ahead)) skew = Math.abs(ahead) < 2000 ? 0 : ahead;
}

// The state

let tree = null;
let revision = 0;
let heard = Date.now(); // when the server last said something

function adopt(body) {
  tree = grown(body.node);
  revision = body.revision;
  putPage();
}

function change(body) {
  if (tree === null || body.revision <= revision) return;
  const isNew = body.changes.map(({ path, node }) => plant(path, node)).includes(true);
  revision = body.revision;
  putPage();
  if (isNew) refresh(); // its place among the others is in /state only
}

/** Puts a node in its place, or takes it away; returns whether it is new. */
function plant(path, node) {
  if (path === "") {
    announce("", tree.status, node.status);
    tree = { ...node, children: tree.children };
    return false;
  }
  const segments = path.split("/");
  const last = segments.pop();
  const parent = segments.reduce((place, segment) => place?.children.get(segment), tree);
  const old = parent?.children.get(last);
  announce(path, old?.status, node?.status);
  if (node === null) parent?.children.delete(last);
  else parent?.children.set(last, { ...node, children: old?.children ?? new Map() });
  return node !== null && old === undefined;
}

// Telling those who do not see it

const transitions = new Map();

/** Gathers what happens to the whole, the models and the sources, and tells it in one sentence. */
function announce(path, before, after) {
  if (before === after || !/^$|^(models|sources)\/[^/]+$/.test(path)) return;
  if (!transitions.size) setTimeout(tellTransitions, GATHER);
  transitions.set(path, after ?? "gone");
}

function tellTransitions() {
  const told = [...transitions].map(([path, status]) => `${path ? label(path.split("/")[1]) : "everything"} ${status}`);
  const rest = told.length - LISTED;
  transitions.clear();
  put(page("announcer"), `Now ${told.slice(0, LISTED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}.`);
}

// The connection

let stream = null;
let retry = 0;
let isStreaming = true; // until the contrary shows
let isAnswering = true;
let lostAt = 0;
let streamed = 0; // the revision of the last event
let ahead = 0; // answers since then that knew more

function connect() {
  clearTimeout(retry);
  stream?.close();
  stream = new EventSource("events");
  stream.addEventListener("open", () => note({ streaming: true }));
  stream.addEventListener("snapshot", (event) => take(event, adopt)); // whatever came before: it may have started over
  stream.addEventListener("change", (event) => take(event, change));
  stream.addEventListener("error", () => {
    note({ streaming: false });
    if (stream.readyState === EventSource.CLOSED) retry = setTimeout(connect, RETRY);
  });
}

function take({ data }, use) {
  const body = parse(data);
  streamed = body.revision;
  heard = Date.now();
  use(body);
}

/** Asks for the state, and so for times that are no change; never for a probe. */
async function refresh() {
  try {
    const answer = await fetch("state", {
      cache: "no-store", // a cached body has the times of its revision
      headers: { "Cache-Control": "max-stale" }, // or the browser would ask for no-cache: a probe (RFC 9111, section 5.2.1)
      signal: AbortSignal.timeout(ANSWER),
    });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const body = parse(await answer.text());
    compareClocks(answer.headers.get("Date"));
    heard = Date.now();
    note({ answering: true });
    if (body.revision >= revision || !isStreaming) adopt(body);
    ahead = body.revision > streamed ? ahead + 1 : 0;
    if (ahead > PATIENCE) reconnect(); // the stream is dead, and nobody has told
  } catch {
    note({ answering: false });
  }
}

function reconnect() {
  ahead = 0;
  connect();
  refresh();
}

function note({ streaming = isStreaming, answering = isAnswering }) {
  isStreaming = streaming;
  isAnswering = answering;
  tellLoss();
}

function tellLoss() {
  const isLost = !isStreaming || !isAnswering;
  if (isLost && !lostAt) lostAt = Date.now();
  if (!isLost && lostAt) put(page("announcer"), "The connection is back.");
  if (!isLost) lostAt = 0;
  page("banner").classList.toggle("lost", isLost);
  page("age").hidden = page("reconnect").hidden = !isLost;
  put(page("lost"), isLost ? "The connection is lost: what this page shows may be old." : "");
  if (isLost) put(page("age"), `Lost for ${age(Date.now() - lostAt)}; what is shown is ${age(Date.now() - heard)} old.`);
}

// While somebody looks

let ticking = 0;
let refreshing = 0;

function wake() {
  clearInterval(ticking);
  clearInterval(refreshing);
  if (document.hidden) return;
  ticking = setInterval(tickAll, 1000);
  refreshing = setInterval(refresh, REFRESH);
  refresh();
  tickAll();
}

page("reconnect").addEventListener("click", reconnect);
document.addEventListener("visibilitychange", wake);
addEventListener("pageshow", ({ persisted }) => persisted && reconnect());
connect();
wake();

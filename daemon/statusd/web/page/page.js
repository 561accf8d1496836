// Keeps the page as /state is: the whole from the first event, then each change, and the times by asking now and then.
// What words.py says about a node is said here again, in the same words. Text only ever becomes textContent.

const REFRESH = 5000; // milliseconds between questions for new times, while somebody looks
const ANSWER = 4000; // milliseconds that an answer may take
const RETRY = 3000; // milliseconds before a stream that the server has refused is tried again
const PATIENCE = 2; // answers in a row that may be ahead of a stream that says nothing
const GATHER = 1000; // milliseconds over which transitions are told together

const WINGS = ["models", "sources", "plugins", "daemon"];
const NOUNS = { daemon: "parts of the daemon" };
const SERVING = ["backend", "source", "candidates"];
const LISTED = 5;

const page = (name) => document.getElementById(`page-${name}`);
const slot = (element, name) => element.querySelector(`:scope > .${name}, :scope > :not(ul, details) .${name}`);

// JSON

/** A number as it was spelled, whatever its size and precision. */
class Exact {
  constructor(text) {
    this.text = text;
  }
}

function parse(text) {
  const body = JSON.parse(text, (_, value, context) =>
    typeof value === "number" ? new Exact(context?.source ?? String(value)) : value,
  );
  return { ...body, revision: Number(body.revision.text) };
}

/** A node with its children by segment, in a map, where no name means anything. */
function grown(node) {
  const children = Object.entries(node.children).map(([segment, child]) => [segment, grown(child)]);
  return { ...node, children: new Map(children) };
}

// Words

const INVISIBLE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu;
const visible = (text) => text.replace(INVISIBLE, "\ufffd");
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const capitalized = (name) => name.slice(0, 1).toUpperCase() + name.slice(1);
const reason = (node) => (node.reason === node.status ? "" : node.reason);
const connected = (node) => (["ok", "degraded"].includes(node.status) ? "connected" : "not connected");
const seen = (node) => (node.expires_at ? node.observed_at : null);
const spelledOut = (instant) => `${instant.slice(0, 10)} ${instant.slice(11, 19)} UTC`;
const text = (value) => (typeof value === "string" ? value : "");

function label(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function wings(root) {
  const rank = ([segment]) => (WINGS.includes(segment) ? WINGS.indexOf(segment) : WINGS.length);
  return [...root.children].sort((one, other) => rank(one) - rank(other));
}

function rule(node) {
  const decided = node.rollup?.decided_by ?? [];
  if (!decided.length || ["ok", "off"].includes(node.status)) return "";
  const rest = decided.length - LISTED;
  const names = decided.slice(0, LISTED).map(label).join(", ");
  return `${node.rollup.rule}: decided by ${names}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function verdict(root) {
  if (root.status === "off") return "Nothing that counts is configured.";
  const failing = wings(root).flatMap(([segment, wing]) => {
    const counted = [...wing.children.values()].filter((one) => one.counts && one.status !== "off");
    const bad = counted.filter((one) => one.status !== "ok").length;
    return bad ? [{ bad, said: `${bad} of ${counted.length} ${NOUNS[segment] ?? label(segment)}` }] : [];
  });
  if (!failing.length) return root.status === "ok" ? "Everything is as it should be." : "The whole is not ok.";
  const verb = failing.reduce((sum, { bad }) => sum + bad, 0) === 1 ? "is" : "are";
  const whole = root.status === "ok" ? ", and the whole is" : "";
  return `${failing.map(({ said }) => said).join(" and ")} ${verb} not ok${whole}.`;
}

function json(value) {
  if (value instanceof Exact) return value.text;
  if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, item]) => `${json(name)}: ${json(item)}`).join(", ")}}`;
  }
  return JSON.stringify(typeof value === "string" ? visible(value) : value);
}

function age(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

// Filling elements

function put(element, said) {
  const shown = visible(said);
  if (element.textContent !== shown) element.textContent = shown;
}

function putStatus(element, status) {
  element.dataset.status = status;
  element.querySelector(".shape use").setAttribute("href", `#page-${status}`);
  put(slot(element, "status"), status);
}

function putInstant(element, instant) {
  if (!instant) {
    element.removeAttribute("datetime");
    element.removeAttribute("title");
  } else if (element.dateTime !== instant) {
    element.dateTime = instant;
    element.title = spelledOut(instant);
  }
  tick(element);
}

function putNode(element, segment, node) {
  const was = element.dataset.status;
  putStatus(element, node.status);
  put(slot(element, "name"), segment);
  put(slot(element, "reason"), reason(node));
  put(slot(element, "apart"), node.counts ? "" : "does not count");
  putInstant(slot(element, "since"), node.since);
  putInstant(slot(element, "seen"), seen(node));
  put(slot(element, "message"), node.message);
  put(slot(element, "rule"), rule(node));
  if (element.isConnected && was !== node.status) flash(element);
}

function putFacts(element, facts) {
  const list = element.querySelector("dl");
  element.hidden = !facts.length;
  put(element.querySelector("summary"), count(facts.length, "fact"));
  while (list.children.length > 2 * facts.length) list.lastElementChild.remove();
  while (list.children.length < 2 * facts.length) {
    list.append(document.createElement("dt"), document.createElement("dd"));
  }
  facts.forEach(([name, value], index) => {
    put(list.children[2 * index], name);
    put(list.children[2 * index + 1], typeof value === "string" ? value : json(value));
  });
}

function putParts(element, path, node) {
  element.hidden = !node.children.size;
  put(element.querySelector(":scope > summary"), count(node.children.size, "part"));
  putChildren(element.querySelector(":scope > ul"), path, node.children, "part", putPart);
}

function putPart(element, path, segment, node) {
  putNode(element, label(segment), node);
  putFacts(element.querySelector(":scope > .facts"), Object.entries(node.facts));
  putParts(element.querySelector(":scope > .parts"), path, node);
}

function putModel(element, path, segment, node) {
  const { backend, source, candidates } = node.facts;
  const facts = Object.entries(node.facts).filter(([name]) => !SERVING.includes(name));
  putNode(element, label(segment), node);
  put(slot(element, "connected"), connected(node));
  put(slot(element, "serving-backend"), `backend ${text(backend)} from source ${text(source)}`);
  putCandidates(element.querySelector(":scope > .candidates"), candidates, source);
  putFacts(element.querySelector(":scope > .facts"), facts);
  putParts(element.querySelector(":scope > .parts"), path, node);
}

function putCandidates(list, candidates, source) {
  const told = Array.isArray(candidates) ? candidates.filter((one) => one !== null && typeof one === "object") : [];
  while (list.children.length > told.length) list.lastElementChild.remove();
  while (list.children.length < told.length) list.append(fresh("candidate"));
  told.forEach((one, index) => {
    const element = list.children[index];
    putStatus(element, text(one.status));
    put(slot(element, "candidate-source"), text(one.source));
    put(slot(element, "reason"), reason({ reason: text(one.reason), status: text(one.status) }));
    put(slot(element, "backend"), text(one.backend));
    put(slot(element, "selected"), one.source === source ? "selected" : "");
  });
}

function putWing(element, path, segment, node) {
  const title = slot(element, "name");
  title.id = `page-heading-${segment}`;
  element.setAttribute("aria-labelledby", title.id);
  putNode(element, capitalized(label(segment)), node);
  putFacts(element.querySelector(":scope > .facts"), Object.entries(node.facts));
  const [name, put] = segment === "models" ? ["model", putModel] : ["part", putPart];
  putChildren(element.querySelector(":scope > ul"), path, node.children, name, put);
}

/** Makes the elements below `list` those of `children`, in their order; those that stay are kept, with focus and all. */
function putChildren(list, path, children, template, put) {
  const old = new Map([...list.children].map((element) => [element.id, element]));
  let place = list.firstElementChild;
  for (const [segment, node] of children) {
    const id = path ? `${path}/${segment}` : segment;
    const element = old.get(id) ?? fresh(template);
    old.delete(id);
    element.id = id;
    put(element, id, segment, node);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  for (const element of old.values()) element.remove();
}

const fresh = (template) => page(`${template}-template`).content.firstElementChild.cloneNode(true);

function putPage() {
  const head = page("verdict");
  document.title = `${tree.status} · statusd`;
  putStatus(head, tree.status);
  put(slot(head, "sentence"), verdict(tree));
  putInstant(slot(head, "since"), tree.since);
  putChildren(page("wings"), "", new Map(wings(tree)), "wing", putWing);
  put(page("revision"), String(revision));
}

function flash(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const colour = getComputedStyle(element).getPropertyValue("--flash");
  element.firstElementChild.animate({ backgroundColor: [colour, "transparent"] }, { duration: 1600, easing: "ease-out" });
}

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

/** Learns the server's time; its `Date` has whole seconds, so that little differences mean nothing. */
function compareClocks(date) {
  const ahead = Date.parse(date) - Date.now();
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

// What words.py says about a node of /state, said here again in the same words.

const WINGS = ["models", "sources", "plugins", "daemon"];
const NOUNS = {
  models: ["model", "models"],
  sources: ["source", "sources"],
  plugins: ["plugin", "plugins"],
  daemon: ["part of the daemon", "parts of the daemon"],
};
const SERVING = ["backend", "source", "candidates"];
const LISTED = 5;

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
const apart = (node, path) =>
  [
    ...(!node.counts && path.split("/").length === 2 ? ["does not count"] : []),
    ...(node.restored ? ["from before the restart"] : []),
  ].join(", ");
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
  if (!node.rollup || node.rollup.rule === "worst" || ["ok", "off"].includes(node.status)) return "";
  const decided = node.rollup.decided_by;
  if (!decided.length || (decided.length === 1 && decided[0] === node.source)) return "";
  const rest = decided.length - LISTED;
  const names = decided.slice(0, LISTED).map(label).join(", ");
  return `${node.rollup.rule}: decided by ${names}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function verdict(root) {
  if (root.status === "off") return root.reason === "drained" ? root.message : "Nothing that counts is configured.";
  const failing = wings(root).flatMap(([segment, wing]) => {
    const counted = [...wing.children.values()].filter((one) => one.counts && one.status !== "off");
    const bad = counted.filter((one) => one.status !== "ok").length;
    const [one, several] = NOUNS[segment] ?? [label(segment), label(segment)];
    return bad ? [{ bad, said: `${bad} of ${counted.length} ${counted.length === 1 ? one : several}` }] : [];
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

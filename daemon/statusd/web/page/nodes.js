// Fills the elements of the page; text only ever becomes textContent, and elements come from the page's templates.

const page = (name) => document.getElementById(`page-${name}`);
const slot = (element, name) => element.querySelector(`:scope > .${name}, :scope > :not(ul, details) .${name}`);

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

function putNode(element, name, node) {
  const was = element.dataset.status;
  putStatus(element, node.status);
  put(slot(element, "name"), name);
  put(slot(element, "reason"), reason(node));
  put(slot(element, "apart"), apart(node, element.id));
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
    put(slot(element, "backend"), one.backend === one.source ? "" : text(one.backend));
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

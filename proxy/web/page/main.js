// The frame: who may see it, which view is shown, and the connection's state.

import { callsView } from "./calls.js";
import { elicit, withdraw } from "./dialogs.js";
import { announce, button, freshId, h, icon, setText } from "./dom.js";
import { number } from "./format.js";
import { mcp } from "./mcp.js";
import { promptsView } from "./prompts.js";
import { resourcesView } from "./resources.js";
import { runs } from "./runs.js";
import { serversView } from "./servers.js";
import { serverView } from "./server.js";
import { api, hasToken, keep, login, Unauthorized } from "./session.js";
import { store } from "./store.js";
import { toolsView } from "./tools.js";
import { stateWord } from "./words.js";

const VIEWS = {
  servers: [serversView, serverView],
  calls: [callsView, callsView],
  tools: [toolsView, toolsView],
  prompts: [promptsView, promptsView],
  resources: [resourcesView, resourcesView],
};
const app = document.getElementById("app");
const door = document.getElementById("door");
const main = document.getElementById("main");
const banner = document.getElementById("banner");

// Who may see it

/** What stands behind the # on arrival: a view's path, or a one-time code, which goes from the address at once. */
function takeCode() {
  const hash = location.hash.slice(1);
  if (hash === "" || hash.startsWith("/") || hash === "main") return "";
  history.replaceState(null, "", location.pathname);
  return hash;
}

async function begin() {
  const code = takeCode();
  try {
    if (code) await login(code);
    else if (!hasToken()) await login("");
  } catch (problem) {
    if (!hasToken() || !(problem instanceof Unauthorized)) {
      showDoor(code || !(problem instanceof Unauthorized) ? reasonOf(problem) : "");
      return;
    }
  }
  await enter();
}

const reasonOf = (problem) => (problem instanceof Unauthorized ? sentence(problem.message) : "The hub does not answer. Is `mcp-manifold serve` running?");
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const CHANGED = "The hub's token has changed since you signed in here. `mcp-manifold token` shows the new one.";

/** `isNew`: the token was entered just now. */
async function enter({ isNew = false } = {}) {
  try {
    await api("/calls?limit=1");
  } catch (problem) {
    if (problem instanceof Unauthorized) {
      keep(null);
      showDoor(isNew ? "The hub does not take this token. `mcp-manifold token` shows the right one." : CHANGED);
      return;
    }
  }
  door.hidden = true;
  door.replaceChildren();
  app.hidden = false;
  store.connect();
  route();
}

function showDoor(reason) {
  store.stop();
  mcp.close();
  app.hidden = true;
  document.title = "Sign in · mcp-manifold";
  const id = freshId("token");
  const input = h("input", { class: "input mono", id, type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-error`, "aria-invalid": String(reason !== ""), required: true });
  const remember = h("input", { type: "checkbox" });
  const error = h("p", { class: "note bad", id: `${id}-error`, role: "alert", hidden: reason === "" }, icon("failed"), h("span", { text: reason }));
  const form = h("form", { class: "panel" },
    h("div", { class: "brand" }, h("img", { src: "page/icon.svg", alt: "", width: "28", height: "28" }), h("h1", { text: "mcp-manifold" })),
    h("p", {}, "This hub asks for its access token. A link with it comes from"),
    h("pre", { text: "mcp-manifold ui" }),
    h("div", { class: "field" }, h("label", { for: id, text: "or paste the token here" }), input, h("p", { class: "soft" }, h("code", { text: "mcp-manifold token" }), " shows it. It is kept for this tab alone, or in this browser until you sign out:"),
      h("label", { class: "check" }, remember, "Remember on this computer")),
    error, button("Sign in", { kind: "main-one", type: "submit" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (!/^[\w.~+/=-]+$/.test(value)) {
      showDoor("This is no token.");
      return;
    }
    keep(value, { remember: remember.checked });
    enter({ isNew: true });
  });
  door.replaceChildren(h("main", {}, form));
  door.hidden = false;
  input.focus();
}

// Views

let view = null;
let began = false;

function route() {
  if (app.hidden) return;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const known = Object.hasOwn(VIEWS, name) ? name : "servers";
  let of;
  try {
    of = rest.length && rest[0] !== "" ? decodeURIComponent(rest.join("/")) : undefined;
  } catch {
    of = rest.join("/");
  }
  view?.close?.();
  view = VIEWS[known][of === undefined ? 0 : 1](of, new URLSearchParams(query));
  main.replaceChildren(view.element);
  document.title = `${view.title} · mcp-manifold`;
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.view === known) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view.start?.();
  for (const what of ["servers", "calls", "output", "shown"]) view.update[what]?.();
  if (began) {
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
  began = true;
}

const nav = document.getElementById("nav");
const counts = {};
for (const [name, text] of [["servers", "Servers"], ["calls", "Calls"], ["tools", "Tools"], ["prompts", "Prompts"], ["resources", "Resources"]]) {
  counts[name] = h("span", { class: "count wide" });
  nav.append(h("a", { href: `#/${name}`, data: { view: name } }, icon(name), text, counts[name]));
}

function countAll() {
  const servers = store.list();
  setText(counts.servers, servers.length ? number(servers.length) : "");
  setText(counts.calls, store.inFlight ? `${number(store.inFlight)} in flight` : "");
  for (const kind of ["tools", "prompts", "resources"]) setText(counts[kind], servers.length ? number(servers.reduce((sum, server) => sum + server[kind], 0)) : "");
}

// The foot of the frame

const linkState = h("div", { class: "link-state" });
const themes = h("fieldset", { class: "themes" }, h("legend", { class: "unseen", text: "Theme" }), [["system", "System", "system"], ["light", "Light", "sun"], ["dark", "Dark", "asleep"]].map(([value, text, picture]) => {
  const input = h("input", { class: "unseen", type: "radio", name: "theme", value, checked: (document.documentElement.dataset.theme ?? "system") === value, on: { change: () => setTheme(value) } });
  return h("label", { title: `${text} theme` }, input, icon(picture), h("span", { class: "unseen", text }));
}));
const leave = button("", { iconName: "out", kind: "quiet only-icon", "aria-label": "Sign out", title: "Sign out", on: () => {
  keep(null);
  showDoor("");
} });
document.getElementById("foot").append(linkState, h("div", { class: "row-foot" }, themes, leave));

function setTheme(value) {
  if (value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  try {
    localStorage.setItem("theme", value);
  } catch {
    // It lasts as long as the page.
  }
}

const retryWords = h("span", { class: "grow" });
banner.append(icon("warning"), retryWords, button("Try now", { kind: "small", on: () => {
  store.connect();
  mcp.retry();
} }));

function showConnection() {
  const { connection } = store;
  const words = { live: "Live", connecting: "Connecting", lost: "Disconnected", out: "Signed out" }[connection];
  if (linkState.dataset.shows !== connection) {
    linkState.dataset.shows = connection;
    linkState.className = `link-state ${connection}`;
    linkState.title = store.version && `mcp-manifold ${store.version}`;
    linkState.replaceChildren(icon(connection === "live" ? "live" : connection === "lost" ? "warning" : "busy", connection === "connecting" ? "turning" : ""), h("span", { class: "words", text: words }));
  }
  app.classList.toggle("stale", connection === "lost");
  if (connection === "lost" && banner.hidden) setText(retryWords, "Disconnected from the hub. What is shown is old; this page connects again by itself.");
  banner.hidden = connection !== "lost";
}

// What happens

let before = "connecting";
store.addEventListener("connection", () => {
  const { connection } = store;
  if (connection === "out") {
    const known = hasToken();
    keep(null);
    showDoor(known ? CHANGED : "The hub asks for a token now. `mcp-manifold token` shows it.");
    before = connection;
    return;
  }
  if (connection === "live" && before === "lost") {
    announce("Connected again");
    mcp.retry();
  }
  before = connection;
  showConnection();
});
store.addEventListener("state", ({ detail: { key, state } }) => announce(`${key}: ${stateWord(state)}`));
for (const what of ["servers", "calls", "output"]) {
  store.addEventListener(what, () => {
    if (what === "servers") countAll();
    view?.update[what]?.();
  });
}
mcp.addEventListener("list", (event) => view?.update.list?.(event));
mcp.addEventListener("withdrawn", (event) => withdraw(event.detail));
mcp.addEventListener("lost", () => withdraw());
mcp.asked = (params, id) => elicit(params, id, runs.underWay.map((run) => run.name).join(", "));
runs.addEventListener("run", (event) => view?.update.run?.(event));
setInterval(() => {
  if (!document.hidden && !app.hidden) view?.update.tick?.();
}, 1000);
addEventListener("hashchange", () => {
  const code = takeCode();
  if (!code) route();
  else login(code).then(enter, (problem) => showDoor(reasonOf(problem)));
});
addEventListener("online", () => store.connection === "lost" && store.connect());
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
  const search = main.querySelector("[data-search]");
  if (search) {
    event.preventDefault();
    search.focus();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the view's
  main.focus();
});

showConnection();
begin();

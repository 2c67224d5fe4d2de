// Puts the console together: one API, one stream, one router, and the frame around the pages.

import { createApi } from "./api.js";
import { swap } from "./dom.js";
import { onGo, onKeys } from "./keys.js";
import { createLive } from "./live.js";
import { createRouter, link } from "./router.js";
import { createFrame } from "./frame.js";
import { heading, tickTimes } from "./ui/basics.js";
import { empty } from "./ui/states.js";
import { page as agents } from "./pages/agents.js";
import { page as approvals } from "./pages/approvals.js";
import { page as caseView } from "./pages/case.js";
import { page as cases } from "./pages/cases.js";
import { page as insight } from "./pages/insight.js";
import { page as letter } from "./pages/letter.js";
import { page as letters } from "./pages/letters.js";
import { page as overview } from "./pages/overview.js";
import { page as spend } from "./pages/spend.js";

const routes = {
  "": overview,
  cases,
  "cases/:id": caseView,
  approvals,
  letters,
  "letters/:id": letter,
  agents,
  spend,
  insight,
};
const missing = {
  title: () => "No such page",
  mount: (root) =>
    swap(
      root,
      heading("No such page"),
      empty("Nothing lives at this address.", "The navigation lists every page."),
    ),
};

let me = { name: "", roles: [], tenant: null };
let reached = null;

const api = createApi({
  onDenied: () => frame.askKey(),
  onReach: (ok) => {
    if (ok) reached = new Date();
    frame.reachable(ok);
  },
});
const frame = createFrame({ api, onKey: start });
const live = createLive({
  api,
  onState: (state) => frame.live(state),
  allows: (topic) => !me.tenant || !["overview", "alerts"].includes(topic),
});

const router = createRouter({
  main: document.getElementById("main"),
  routes,
  missing,
  context: (route, signal) => ({
    api,
    live: {
      want: (topics, handlers) => signal.addEventListener("abort", live.want(topics, handlers)),
    },
    route,
    signal,
    may: (role) => me.roles.includes("operate") || me.roles.includes(role),
    me: () => me,
    say: frame.say,
    toast: frame.toast,
    keys: (table) => onKeys(table, signal),
    query: (query) => router.update(query),
    go: (path, query) => {
      location.hash = link(path, query);
    },
    reload: () => router.show(),
    reachedAt: () => (reached ? reached.toLocaleTimeString("en-GB") : "before"),
  }),
  onRoute: (route, title) => frame.route(route, title),
});

async function start() {
  try {
    me = await api.get("/me");
  } catch (error) {
    if (error.status === 401) return;
    me = { name: "", roles: error.status === 404 ? ["operate"] : [], tenant: null };
  }
  frame.who(me);
  live.connect();
  router.show();
}

live.want(["overview", "approvals", "alerts"], {
  overview: frame.counts,
  alert: frame.alert,
  resync: () => {
    if (!me.roles.length) start();
  },
});
onGo(
  {
    o: [],
    c: ["cases"],
    a: ["approvals"],
    d: ["letters"],
    g: ["agents"],
    s: ["spend"],
    i: ["insight"],
  },
  (path) => {
    location.hash = link(path);
  },
);
tickTimes();
start();

// Addresses behind the #: the server knows one page, history and links work as anywhere.

/** "#/cases/a%2Fb?status=open" -> {path: ["cases", "a/b"], query: {status: "open"}}. Pure. */
export function parse(hash) {
  const said = hash.startsWith("#/") ? hash.slice(2) : "";
  const [path, query = ""] = split(said);
  return {
    path: path.split("/").filter(Boolean).map(decoded),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The address of a page: each segment escaped, empty values of the query left out. Pure. */
export function link(path, query = {}) {
  const said = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const rest = said.length ? `?${new URLSearchParams(said)}` : "";
  return `#/${path.map((part) => encodeURIComponent(String(part))).join("/")}${rest}`;
}

function split(text) {
  const at = text.indexOf("?");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * `routes`: `{name: page}`; a page is `{title(route), mount(root, context)}` and `mount` may return
 * what ends it. `context(route, signal)` makes what a page gets. Focus goes to the heading of a new
 * page, not to a page whose query alone changed by itself (`update(query)` replaces that in place).
 */
export function createRouter({ main, routes, missing, context, onRoute }) {
  let leave = () => {};
  let stop = new AbortController();
  let shown = "";
  let first = true;

  function show() {
    if (location.hash && !location.hash.startsWith("#/")) return;
    const route = parse(location.hash);
    const page = routes[pageName(route, routes)] ?? missing;
    shown = location.hash;
    leave();
    stop.abort();
    stop = new AbortController();
    main.replaceChildren();
    document.title = `${page.title(route)} · Caseworks`;
    leave = page.mount(main, context(route, stop.signal)) ?? (() => {});
    onRoute(route, page.title(route));
    window.scrollTo(0, 0);
    if (!first) (main.querySelector("h1") ?? main).focus({ preventScroll: true });
    first = false;
  }

  window.addEventListener("hashchange", () => {
    if (location.hash !== shown) show();
  });
  return {
    show,
    update(query) {
      const { path } = parse(location.hash);
      shown = link(path, query);
      history.replaceState(null, "", shown);
    },
  };
}

/** A page is named by its first segment, and by ":id" where more follow. */
export function pageName(route, routes) {
  const [head = "", ...rest] = route.path;
  const name = rest.length ? `${head}/:id` : head;
  return Object.hasOwn(routes, name) ? name : undefined;
}

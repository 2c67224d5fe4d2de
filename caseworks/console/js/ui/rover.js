// j and k walk through a list; the things walked through are links or buttons anyway.

/** Move the focus among what fits `selector` within `list`. */
export function rover(list, selector, context) {
  const move = (by) => {
    const all = [...list.querySelectorAll(selector)];
    if (!all.length) return;
    const row = (node) => node.closest("li, tr") ?? node;
    const here = all.findIndex((node) => row(node).contains(document.activeElement));
    const next =
      all[
        here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by))
      ];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  context.keys({ j: () => move(1), k: () => move(-1) });
}

// Before anything is drawn: the theme that a person chose, else the system's.
(() => {
  try {
    const chosen = localStorage.getItem("caseworks.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden: then the system decides.
  }
})();

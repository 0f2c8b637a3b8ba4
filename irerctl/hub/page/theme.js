// Sets the colours before anything is drawn, so that a chosen theme never flashes the other one first.
// A plain script on purpose: modules run after the page is parsed. `data-theme` is absent where the system decides.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("irer-theme");
  } catch {
    // Storage is off: the system's theme then.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();

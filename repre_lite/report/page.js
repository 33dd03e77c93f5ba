// A link to a section that is closed opens it; on paper all are open.
const folds = [...document.querySelectorAll("details.fold")];
const reach = () => {
  const fold = document.getElementById(location.hash.slice(1))?.closest("details");
  if (fold) fold.open = true;
};
addEventListener("hashchange", reach);
reach();
let closed = [];
addEventListener("beforeprint", () => (closed = folds.filter((fold) => !fold.open)).forEach((fold) => (fold.open = true)));
addEventListener("afterprint", () => closed.forEach((fold) => (fold.open = false)));

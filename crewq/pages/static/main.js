// Begins the page that its frame names.

import { fill, h } from "./dom.js";

const page = document.getElementById("crewq");

const PAGES = { runs: "./runs.js", run: "./run.js", batch: "./batch.js", compare: "./compare.js" };

/** Show why there is nothing to show. */
function fail(error) {
  fill(page, h("div.alert.alert-warning", { role: "alert" }, error.message));
}

try {
  const { show } = await import(PAGES[page.dataset.page]);
  await show(page, page.dataset.name);
  page.dataset.shown = "yes";
} catch (error) {
  fail(error);
}

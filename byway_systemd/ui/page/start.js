// Fetches the page's modules once the document has loaded: Cockpit shows nothing of a page until then.

const PAUSE = 2000;

addEventListener("load", async () => {
  document.head.append(document.getElementById("modules").content);
  try {
    await import("./page.js");
  } catch (error) {
    // A browser gives up what is under way when the network changes, and does not ask for it again.
    console.warn(`byway's page did not arrive whole, and is loaded again: ${error.message}`);
    setTimeout(() => location.reload(), PAUSE);
  }
});

/* Makes quicker what works without it: regions renew themselves, menus close, keys lead through lists, times are local.

   A region is an element with `data-live`: it polls its own address by htmx, sends the tag of what it
   shows, and is left alone while somebody works in it. */
(() => {
  "use strict";

  const ACTIVE_MS = 3000, IDLE_MS = 15000, IDLE_AFTER_MS = 60000, PULSE_MS = 15000;
  const tags = new Map();
  let lastAct = Date.now(), lastPoll = 0, lastPulse = Date.now();

  // -- the zone: the server tells times in it from the next page on ---------------------------------

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = document.cookie.split("; ").find((item) => item.startsWith("zone="));
  if (zone && known !== `zone=${zone}`) {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
  }

  // -- when to poll ---------------------------------------------------------------------------------

  for (const name of ["pointerdown", "keydown", "scroll"]) {
    addEventListener(name, () => { lastAct = Date.now(); }, { passive: true });
  }

  // A region says itself how often it is worth asking for: often while something runs.
  const paceOf = (region) => {
    const told = region.querySelector("[data-pace]");
    return told ? told.dataset.pace : region.dataset.live;
  };
  const renew = (pace) => {
    for (const region of document.querySelectorAll("[data-live]")) {
      if (paceOf(region) === pace) htmx.trigger(region, "renew");
    }
  };
  const poll = (force) => {
    if (document.hidden || !window.htmx) return;
    const now = Date.now();
    const pause = now - lastAct > IDLE_AFTER_MS ? IDLE_MS : ACTIVE_MS;
    if (force || now - lastPoll >= pause) {
      lastPoll = now;
      renew("fast");
    }
    if (force || now - lastPulse >= PULSE_MS) {
      lastPulse = now;
      renew("slow");
    }
  };
  setInterval(() => poll(false), 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(true); });

  // -- tags: what did not change is a 304 without a body ---------------------------------------------

  document.addEventListener("htmx:configRequest", (event) => {
    const tag = tags.get(event.target.id);
    if (tag) event.detail.headers["If-None-Match"] = tag;
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    if (!target.dataset.live || xhr.status !== 200) return;
    if (isBusy(target)) {
      event.detail.shouldSwap = false;
      tell(target, true);
      return;
    }
    tags.set(target.id, xhr.getResponseHeader("ETag"));
    event.detail.swapOverride = "innerHTML";
    target.openFolds = [...target.querySelectorAll("details[open][id]")].map((item) => item.id);
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const region = event.detail.target;
    for (const id of region.openFolds || []) {
      const fold = document.getElementById(id);
      if (fold) fold.open = true;
    }
    tell(region, false);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.xhr || !event.target.dataset.live) return;
    const status = event.detail.xhr.status;
    // Nothing to show is news of its own: what moved meanwhile need not be looked at again.
    if (status === 304) tags.set(event.target.id, event.detail.xhr.getResponseHeader("ETag"));
    show("signed-out", status === 401);
    show("no-connection", status === 0 || status >= 500);
  });
  document.addEventListener("htmx:sendError", () => show("no-connection", true));

  // Whoever types, marks, ticks or has a menu or a dialog open keeps what they see.
  function isBusy(region) {
    if (document.querySelector("dialog[open]")) return true;
    const focus = document.activeElement;
    if (focus && focus !== document.body && region.contains(focus)) return true;
    const selection = getSelection();
    if (selection && !selection.isCollapsed && region.contains(selection.anchorNode)) return true;
    if (region.querySelector("input[type=checkbox]:checked, details.drop[open]")) return true;
    return [...region.querySelectorAll("input[type=text], input[type=search], textarea")]
      .some((field) => field.value !== field.defaultValue);
  }

  function tell(region, isNew) {
    const note = document.querySelector(`[data-news-of="${region.id}"]`);
    if (note) note.hidden = !isNew;
  }

  function show(id, on) {
    const banner = document.getElementById(id);
    if (banner) banner.hidden = !on;
  }

  document.addEventListener("click", (event) => {
    const news = event.target.closest("[data-news-of] button");
    if (!news) return;
    const region = document.getElementById(news.closest("[data-news-of]").dataset.newsOf);
    if (document.activeElement) document.activeElement.blur();
    getSelection().removeAllRanges();
    for (const menu of region.querySelectorAll("details.drop[open]")) menu.open = false;
    for (const form of region.querySelectorAll("form")) form.reset();
    htmx.trigger(region, "renew");
  });

  // -- the tab tells how much waits for a person -------------------------------------------------------

  const title = document.title;
  const count = () => {
    const told = document.querySelector("[data-waiting]");
    document.title = told && told.dataset.waiting !== "0" ? `(${told.dataset.waiting}) ${title}` : title;
  };
  count();
  document.addEventListener("htmx:afterSwap", count);

  // -- menus close by Escape and by a click elsewhere --------------------------------------------------

  const menus = () => document.querySelectorAll("details.menu[open], details.drop[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const menu of menus()) {
        const within = menu.contains(document.activeElement);
        menu.open = false;
        if (within) menu.querySelector("summary").focus();
      }
    }
  });

  // -- single keys: through the rows of lists, until they are switched off -----------------------------

  const ROWS = ["main .list tbody tr, main .cause", "main .plain-list > li"];  // the latter where a page has only these
  const keys = document.getElementById("keys");
  const row = () => document.activeElement.closest(ROWS.join());
  const linksOf = (rows) => [...document.querySelectorAll(rows)]
    .map((item) => item.querySelector("a[href]") || item.querySelector("input[type=checkbox]"))
    .filter((link) => link && link.getClientRects().length);
  const rowAfter = (step) => {
    const links = ROWS.map(linksOf).find((found) => found.length) || [];
    const here = links.findIndex((link) => row() && row().contains(link));
    return links[here < 0 ? 0 : here + step];
  };
  const targets = {
    "j": () => rowAfter(1),
    "k": () => rowAfter(-1),
    "x": () => row() && row().querySelector("input[type=checkbox]"),
    "r": () => row() && row().querySelector('form:is([action$="/retries"], [action$="/bulk"]) button'),
    "/": () => document.querySelector("input[type=search]"),
    "?": () => keys,
  };
  if (keys) {
    const button = document.getElementById("keys-button");
    button.hidden = false;
    button.addEventListener("click", () => keys.showModal());
  }
  document.addEventListener("keydown", (event) => {
    if (!keys || !("on" in keys.dataset) || document.querySelector("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    const target = targets[event.key] && targets[event.key]();
    if (!target) return;
    event.preventDefault();
    if (event.key === "x") target.click();
    else if (target === keys) keys.showModal();
    else target.focus();
  });

  // On a phone the navigation is wider than the screen: show where we are.
  const here = document.querySelector(".nav-list [aria-current]");
  if (here) here.closest("nav").scrollLeft = here.offsetLeft - 80;

  // -- copy a text, where the browser lets us ---------------------------------------------------------

  const offerCopies = () => {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button[data-copies]")) button.hidden = false;
  };
  offerCopies();
  document.addEventListener("htmx:afterSwap", offerCopies);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copies]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).value);
    const said = button.textContent;
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = said; }, 1500);
  });

  // -- a form is sent once ------------------------------------------------------------------------------

  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    if (event.target.method === "post") event.target.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
})();

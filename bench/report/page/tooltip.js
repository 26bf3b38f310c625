// The reason of a label: on hover, on focus, and on tap.

const TIP_GAP_PX = 8;
const TIP_EDGE_PX = 12;

function showTip(badge) {
  const tip = byId("tip"), at = badge.getBoundingClientRect();
  // What lies in an open dialog covers all that lies outside it.
  (badge.closest("dialog") || document.body).append(tip);
  tip.textContent = badge.dataset.tip;
  tip.hidden = false;
  const right = document.documentElement.clientWidth - tip.offsetWidth - TIP_EDGE_PX;
  tip.style.left = `${Math.max(TIP_EDGE_PX, Math.min(at.left, right))}px`;
  const below = at.bottom + TIP_GAP_PX;
  const fits = below + tip.offsetHeight < document.documentElement.clientHeight;
  tip.style.top = `${fits ? below : Math.max(TIP_EDGE_PX, at.top - TIP_GAP_PX - tip.offsetHeight)}px`;
  badge.setAttribute("aria-describedby", "tip");
}

function hideTip() {
  byId("tip").hidden = true;
  document.querySelector("[aria-describedby='tip']")?.removeAttribute("aria-describedby");
}

// Focus scrolls its label into view, under a mouse that rests: neither may take the tip of a focused label.
function followFocus() {
  const badge = document.querySelector("[aria-describedby='tip']:focus-visible");
  if (badge) showTip(badge);
  else hideTip();
}

function startTips() {
  const tipped = (event) => (event.target instanceof Element ? event.target.closest("[data-tip]") : null);
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const badge = tipped(event);
    if (badge) showTip(badge);
    else followFocus();
  });
  document.addEventListener("focusin", (event) => {
    if (tipped(event)?.matches(":focus-visible")) showTip(tipped(event));
    else hideTip();
  });
  document.addEventListener("click", (event) => {
    if (tipped(event)) showTip(tipped(event));
    else hideTip();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  addEventListener("scroll", followFocus, { capture: true, passive: true });
}

"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const sources = read("sources"), texts = read("texts"), cells = read("cells");

const image = (source, alt) => {
  const found = new Image();
  found.alt = alt;
  found.onload = () => found.classList.toggle("small", found.naturalWidth < 64);
  found.src = source;
  return found;
};

// Thumbnails are in the page once, and decoded when their gallery comes near the screen.
const show = (views) => {
  const number = Number(views.dataset.picture), { jpeg, heat } = sources[number];
  const [file, , label] = texts[number];
  if (jpeg) views.append(image(jpeg, `${label}, ${file}`));
  if (heat) views.append(image(heat, "where the network looks"));
};
const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    near.unobserve(entry.target);
    show(entry.target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".views").forEach((views) => near.observe(views));

const add = (parent, name, text, kind) => {
  const found = document.createElement(name);
  found.textContent = text ?? "";
  if (kind) found.className = kind;
  parent.append(found);
  return found;
};

const figure = ([number, said]) => {
  const found = document.createElement("figure"), [file, part, label, missing] = texts[number];
  found.className = sources[number].heat ? "picture pair" : "picture";
  const views = add(found, "div", "", "views");
  views.dataset.picture = number;
  if (missing) add(views, "span", `no thumbnail: ${missing}`, "gone");
  const caption = add(found, "figcaption");
  if (part === "test") {
    add(caption, "strong", "held-out test image", "test");
    caption.append(" ");
  }
  add(caption, "strong", label);
  caption.append(` ${said}`, document.createElement("br"));
  add(caption, "span", file, "file");
  show(views);
  return found;
};

const buttons = document.querySelectorAll("button[data-cell]");
for (const button of buttons) {
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-expanded", String(other === button));
    const shown = cells[button.dataset.cell] ?? [];
    const count = Number.parseInt(button.textContent, 10);
    const title = button.getAttribute("aria-label") ?? button.textContent;
    document.getElementById("cell-title").textContent = shown.length < count ? `${title}: ${shown.length} of them` : title;
    document.getElementById("cell-images").replaceChildren(...shown.map(figure));
    const region = document.getElementById("cell");
    region.hidden = false;
    region.focus({ preventScroll: true });
    region.scrollIntoView({ block: "nearest" });
  });
}

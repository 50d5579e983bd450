"use strict";

/* A new element: its kind, attributes and children. */
function make(kind, attributes, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/* Pictures on top of each other behind a line that moves: `.compare` of parts.html.j2. */
class Compare {
  static GAINS = [1, 2, 4, 8, 16, 32];
  static MOST = 40; // CSS pixels for a pixel of the picture
  static FITTED = 10; // the same, of a small picture that is shown whole

  constructor(root) {
    this.root = root;
    this.sets = [...root.querySelectorAll(".set")];
    this.at = 0.5;
    this.zoom = 1; // 1: the whole picture fills the stage
    this.x = this.y = 0; // where its corner lies, in CSS pixels
    this.pointers = new Map();
    this.build();
    root.classList.add("ready");
    this.choose(0);
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  build() {
    const button = (text, label, act) => {
      const made = make("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    const select = (label, act) => {
      const made = make("select", {});
      made.addEventListener("change", act);
      return [make("label", {}, label, made), made];
    };
    const [set, sets] = select(this.root.dataset.what, () => this.choose(sets.selectedIndex));
    this.sets.forEach((each) => sets.append(make("option", {}, each.dataset.name)));
    set.hidden = this.sets.length < 2;
    [this.leftLabel, this.left] = select("Left", () => this.show());
    [this.rightLabel, this.right] = select("Right", () => this.show());
    this.views = [button("Slider", "Slider", () => this.view(false)), button("Difference", "Difference", () => this.view(true))];
    const [gain, gains] = select("times", () => this.show());
    Compare.GAINS.forEach((n) => gains.append(make("option", { value: n }, n)));
    gains.value = 8;
    [this.gain, this.gains] = [gain, gains];
    const zooms = [
      button("−", "Zoom out", () => this.scale(1 / 1.5)),
      button("+", "Zoom in", () => this.scale(1.5)),
      button("Fit", "Fit the whole picture", () => this.fit()),
      button("1:1", "One pixel of the picture for one of the screen", () => this.exact()),
    ];
    const group = (label, ...inside) => make("span", { class: "group", role: "group", "aria-label": label }, ...inside);
    const tools = make("div", { class: "tools" }, set, this.leftLabel, this.rightLabel, group("View", ...this.views), gain);
    this.percent = make("span", { class: "soft", "aria-live": "polite" });
    tools.append(make("span", { class: "push" }, this.percent, group("Zoom", ...zooms)));

    this.layers = [0, 1].map(() => make("div", { class: "layer" }, make("img", { draggable: "false", alt: "" })));
    this.images = this.layers.map((layer) => layer.firstChild);
    this.pair = make("div", { class: "pair" }, ...this.layers);
    this.tags = ["left", "right"].map((side) => make("span", { class: `tag ${side}` }));
    this.handle = make("div", {
      class: "handle", role: "slider", tabindex: "0", "aria-orientation": "horizontal",
      "aria-valuemin": "0", "aria-valuemax": "100",
    });
    this.stage = make("div", {
      class: "stage", tabindex: "0", role: "group",
      "aria-label": `${this.root.getAttribute("aria-label")}. Plus and minus zoom, arrow keys move, 0 fits.`,
    }, this.pair, ...this.tags, this.handle);
    for (const figure of this.root.querySelectorAll("figure")) {
      figure.addEventListener("click", () => { this.right.selectedIndex = [...figure.parentNode.children].indexOf(figure); this.show(); });
    }
    const hint = make("p", { class: "hint" }, "Drag the line, or use the arrow keys. Zoom: pinch, double click, Ctrl and wheel, or + and −. Drag a zoomed picture to move it.");
    this.root.prepend(tools, this.stage, hint);
    this.listen();
  }

  listen() {
    const { stage, handle } = this;
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => { this.pointers.delete(event.pointerId); this.sliding = this.sliding && this.pointers.size > 0; });
    }
    stage.addEventListener("dblclick", (event) => this.zoomed() ? this.fit() : this.scale(3, ...this.place(event)));
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY / 200), ...this.place(event));
    }, { passive: false });
    handle.addEventListener("keydown", (event) => this.key(event, this.slideKeys(event)));
    stage.addEventListener("keydown", (event) => event.target === stage && this.key(event, this.stageKeys()));
    stage.addEventListener("keydown", (event) => this.key(event, { "+": () => this.scale(1.5), "=": () => this.scale(1.5), "-": () => this.scale(1 / 1.5), 0: () => this.fit() }));
  }

  key(event, keys) {
    const act = keys[event.key];
    if (!act || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
  }

  slideKeys(event) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const by = (d) => () => this.slide(this.at + d);
    return {
      ArrowLeft: by(-step), ArrowDown: by(-step), ArrowRight: by(step), ArrowUp: by(step),
      PageDown: by(-0.1), PageUp: by(0.1), Home: () => this.slide(0), End: () => this.slide(1),
    };
  }

  stageKeys() {
    const by = (dx, dy) => () => this.zoomed() ? this.pan(dx, dy) : this.slide(this.at - dx / 2000);
    return { ArrowLeft: by(40, 0), ArrowRight: by(-40, 0), ...(this.zoomed() ? { ArrowUp: by(0, 40), ArrowDown: by(0, -40) } : {}) };
  }

  place(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button > 0) return;
    this.pointers.set(event.pointerId, this.place(event));
    try { this.stage.setPointerCapture(event.pointerId); } catch { /* a pointer that has gone */ }
    this.sliding = this.pointers.size === 1 && !this.difference && (event.target === this.handle || !this.zoomed());
    if (this.sliding) this.slide(this.place(event)[0] / this.stage.clientWidth);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const far = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
      this.scale(far(now) / Math.max(far(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (this.sliding) {
      this.slide(now[0] / this.stage.clientWidth);
    } else if (this.zoomed()) {
      this.pan(now[0] - before[0], now[1] - before[1]);
    }
    this.pointers.set(event.pointerId, now);
  }

  choose(which) {
    const pictures = [...this.sets[which].querySelectorAll("figure")];
    const kept = [this.left, this.right].map((list) => list.selectedIndex);
    this.pictures = pictures.map((each) => ({ image: each.querySelector("img"), name: each.querySelector("figcaption").textContent }));
    [this.left, this.right].forEach((list, i) => {
      list.replaceChildren(...this.pictures.map((each) => make("option", {}, each.name)));
      list.selectedIndex = kept[i] >= 0 && kept[i] < pictures.length ? kept[i] : Math.min(i, pictures.length - 1);
    });
    this.sets.forEach((each, i) => { each.hidden = i !== which; });
    this.leftLabel.hidden = this.rightLabel.hidden = pictures.length < 3;
    const [w, h] = ["width", "height"].map((name) => Number(this.pictures[0].image.getAttribute(name)));
    this.size = [w, h];
    this.stage.style.cssText = `width: min(100%, calc(78vh * ${w} / ${h}), ${Compare.FITTED * w}px); aspect-ratio: ${w} / ${h}; min-height: min(120px, 30vw)`;
    this.view(this.difference ?? false);
  }

  view(difference) {
    this.difference = difference;
    this.views.forEach((button, i) => button.setAttribute("aria-pressed", String(difference === (i === 1))));
    this.stage.classList.toggle("difference", difference);
    this.gain.hidden = !difference;
    this.show();
  }

  show() {
    const two = [this.left, this.right].map((list) => this.pictures[list.selectedIndex]);
    two.forEach((picture, i) => {
      this.images[i].src = picture.image.src;
      this.images[i].alt = picture.image.alt;
      this.tags[i].textContent = picture.name;
    });
    if (this.difference) this.tags[0].textContent = `|${two[1].name} − ${two[0].name}| × ${this.gains.value}`;
    this.pair.style.filter = this.difference ? `brightness(${this.gains.value})` : "";
    this.handle.setAttribute("aria-label", `${two[0].name} to the left, ${two[1].name} to the right`);
    this.draw();
  }

  base() {
    return Math.min(this.stage.clientWidth / this.size[0], this.stage.clientHeight / this.size[1]) || 1;
  }

  zoomed() {
    return this.zoom > 1.001;
  }

  fit() {
    this.zoom = 1;
    this.draw();
  }

  exact() {
    this.scale(1 / (window.devicePixelRatio * this.base() * this.zoom));
  }

  /* Zoom by a factor; the point (x, y) of the stage stays where it is. */
  scale(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const before = this.zoom;
    this.zoom = clamp(before * factor, 1, Math.max(8, Compare.MOST / this.base()));
    const by = this.zoom / before;
    this.x = x - (x - this.x) * by;
    this.y = y - (y - this.y) * by;
    this.draw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.draw();
  }

  slide(at) {
    this.at = clamp(at, 0, 1);
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const scale = this.base() * this.zoom;
    const inside = (at, room, size) => (size <= room + 0.5 ? (room - size) / 2 : clamp(at, room - size, 0));
    this.x = inside(this.x, width, this.size[0] * scale);
    this.y = inside(this.y, height, this.size[1] * scale);
    for (const image of this.images) {
      image.style.width = `${this.size[0]}px`;
      image.style.height = `${this.size[1]}px`;
      image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${scale})`;
    }
    const percent = Math.round(this.at * 100);
    this.layers[1].style.clipPath = this.difference ? "" : `inset(0 0 0 ${this.at * 100}%)`;
    this.handle.style.left = `${this.at * 100}%`;
    this.handle.setAttribute("aria-valuenow", percent);
    this.handle.setAttribute("aria-valuetext", `${percent} %`);
    this.stage.classList.toggle("zoomed", this.zoomed());
    this.stage.classList.toggle("pixels", scale >= 3);
    this.percent.textContent = `${Math.round(scale * 100)} %`;
  }
}

/* Tables whose lines are sorted by a click on a head, numbers as numbers; the second click turns the order. */
function sortable(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const body = table.tBodies[0];
  const first = [...body.rows];
  const value = (row, column) => {
    const text = row.cells[column]?.textContent.trim() ?? "";
    const number = parseFloat(text.replace("−", "-"));
    return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number;
  };
  const sort = (column) => {
    const down = heads[column].getAttribute("aria-sort") === "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null) || 0; // what is not there comes last
      const by = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return down ? -by : by;
    };
    body.append(...[...first].sort((a, b) => order(value(a, column), value(b, column))));
  };
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });
}

/* A button that copies the text below it. */
function copies(button) {
  const text = button.closest(".code").querySelector("code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch { // a page from a file may not: the text is marked, for Ctrl+C
      getSelection().selectAllChildren(text);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

document.querySelectorAll(".compare").forEach((root) => new Compare(root));
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".copy").forEach(copies);

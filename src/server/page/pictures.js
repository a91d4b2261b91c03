// Pictures of a question: read, checked, shown, kept in IndexedDB.

const mostBytes = 20_000_000;
const typeOfEnding = new Map(Object.entries({
  heic: "image/heic", heif: "image/heif", avif: "image/avif", jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png",
  webp: "image/webp", gif: "image/gif", bmp: "image/bmp", tif: "image/tiff", tiff: "image/tiff",
  ppm: "image/x-portable-pixmap", pgm: "image/x-portable-graymap",
}));
const endingOf = (name) => name.toLowerCase().split(".").pop();

// Only pages from https and from this machine have crypto.randomUUID.
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

export function placeholder(name, why) {
  const box = document.createElement("span");
  box.className = "placeholder";
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${name} (${why})`);
  box.textContent = endingOf(name).slice(0, 5).toUpperCase();
  return box;
}

export class Picture {
  #url = null;
  #data = null;

  constructor(blob, name, key) {
    this.blob = blob;
    this.name = name;
    this.key = key;
    this.width = this.height = 0;  // upright; 0 when this browser cannot decode it
  }

  // Throws Error in words for what is no picture or too large. The bytes are read at once: files change and go away.
  static async from(file) {
    const name = file.name || "picture";
    const type = /^image\/[\w.+-]+$/.test(file.type) ? file.type : typeOfEnding.get(endingOf(name));
    if (!type) throw new Error(`${name} is no picture that this page knows.`);
    if (file.size === 0) throw new Error(`${name} is empty.`);
    if (file.size > mostBytes)
      throw new Error(`${name} has ${(file.size / 1e6).toFixed(1)} MB; the limit is ${mostBytes / 1e6} MB.`);
    let bytes;
    try {
      bytes = await file.arrayBuffer();
    } catch {
      throw new Error(`${name} cannot be read.`);
    }
    return Picture.of(new Blob([bytes], { type }), name, newKey());
  }

  static async of(blob, name, key) {
    const picture = new Picture(blob, name, key);
    try {
      const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
      picture.width = bitmap.width;
      picture.height = bitmap.height;
      bitmap.close();
    } catch {
      // HEIC, TIFF: the server may well read what this browser cannot.
    }
    return picture;
  }

  get url() {
    return (this.#url ??= URL.createObjectURL(this.blob));
  }
  dataUrl() {
    return (this.#data ??= new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error(`${this.name} cannot be read.`));
      reader.readAsDataURL(this.blob);
    }));
  }
  // Memory only: both are made again when they are needed again.
  forget() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = this.#data = null;
  }

  view() {
    if (this.width === 0) return placeholder(this.name, "this browser cannot show it");
    const image = new Image();
    image.src = this.url;
    image.alt = this.name;
    return image;
  }
}

let database = null;

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("tapetum", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("pictures");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

// Without IndexedDB (private windows, blocked storage) pictures are not kept, and that is all.
async function inStore(mode, act) {
  try {
    const transaction = (await (database ??= open())).transaction("pictures", mode);
    return await new Promise((resolve, reject) => {
      const request = act(transaction.objectStore("pictures"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return undefined;
  }
}

export const kept = {
  put: (picture) => inStore("readwrite", (store) => store.put(picture.blob, picture.key)),
  get: (key) => inStore("readonly", (store) => store.get(key)),  // undefined: it is not there
  clear: () => inStore("readwrite", (store) => store.clear()),
};

// A live view of the camera in a dialog; `take` gets each photo as a File.
export function connectCamera({ dialog, view, openButton, takeButton, cancelButton, fallback, take, fail }) {
  let stream = null, asking = false;
  const end = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    view.srcObject = stream = null;
  };
  openButton.addEventListener("click", async () => {
    if (!navigator.mediaDevices?.getUserMedia) return fallback.click();
    if (asking || stream) return;
    asking = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } },
      });
    } catch (error) {
      return fail(new Error(error.name === "NotFoundError" ? "There is no camera."
        : `The camera cannot be used: ${error.message}`));
    } finally {
      asking = false;
    }
    view.srcObject = stream;
    dialog.showModal();
  });
  takeButton.addEventListener("click", () => {
    if (view.videoWidth === 0) return;  // not yet running
    const canvas = document.createElement("canvas");
    canvas.width = view.videoWidth;
    canvas.height = view.videoHeight;
    canvas.getContext("2d").drawImage(view, 0, 0);
    canvas.toBlob((blob) => {
      if (blob) take(new File([blob], "photo.jpg", { type: "image/jpeg" }));
      dialog.close();
    }, "image/jpeg", 0.92);
  });
  cancelButton.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", end);  // Escape too
}

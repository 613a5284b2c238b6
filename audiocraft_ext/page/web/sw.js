// The whole page stays on this device after the first visit. `make page` writes the version and the files.

const CACHE = "micro-musicgen-" + "VERSION",
  FILES = ["FILES"];

self.addEventListener("install", (event) => event.waitUntil(fill()));
self.addEventListener("activate", (event) => event.waitUntil(forget().then(() => self.clients.claim())));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && new URL(event.request.url).origin === location.origin)
    event.respondWith(answer(event.request));
});

async function fill() {
  const cache = await caches.open(CACHE);
  for (const file of FILES) if (!(await cache.match(file))) await cache.add(new Request(file, { cache: "no-cache" }));
  await self.skipWaiting();
}

async function forget() {
  for (const name of await caches.keys())
    if (name.startsWith("micro-musicgen-") && name !== CACHE) await caches.delete(name);
}

async function answer(request) {
  return (await (await caches.open(CACHE)).match(request, { ignoreSearch: true })) || fetch(request);
}

// The server: asking it, and its files.

/** GET `/api/what?...`; the answer, or an error in the server's words. */
export async function get(what, query = {}) {
  return answer(await reach(`api/${what}?${new URLSearchParams(query)}`));
}

/** POST an object to `/api/what`. */
export async function post(what, body = {}) {
  return answer(await reach(`api/${what}`, { method: "POST", body: JSON.stringify(body) }));
}

/** PUT a file into `sounds/folder`; `told(share)` hears how far it is. XMLHttpRequest, for fetch tells nothing of it. */
export function upload(folder, name, file, told = () => {}) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `api/upload?${new URLSearchParams({ folder, name })}`);
    request.upload.onprogress = ({ loaded, total }) => told(loaded / total);
    request.onload = () => {
      const said = JSON.parse(request.responseText || "{}");
      if (request.status < 400) done(said);
      else fail(new Error(said.error || `the server answered ${request.status}`));
    };
    request.onerror = () => fail(new Error(`${name}: the server did not take it`));
    request.send(file);
  });
}

export async function reach(url, how) {
  try {
    return await fetch(url, how);
  } catch {
    throw new Error("the studio does not answer; is it still running in its terminal?");
  }
}

async function answer(response) {
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said.error || `the server answered ${response.status}`);
  return said;
}

/** The URL of a file of the workspace. */
export const fileUrl = (path) => `file/${path.split("/").map(encodeURIComponent).join("/")}`;

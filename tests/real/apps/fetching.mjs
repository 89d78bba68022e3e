// Fetches URLs over connections that are kept, as node does, and prints status and body of each as JSON.
const [method, ...urls] = process.argv.slice(2);
for (const url of urls) {
  try {
    const answer = await fetch(url, { method, redirect: "manual", signal: AbortSignal.timeout(5000) });
    console.log(JSON.stringify([answer.status, await answer.text()]));
  } catch {
    console.log("null");
  }
}

export default async function Page({ params }: { params: Promise<{ id: string }> }) {
  return <h1>User {(await params).id}</h1>;
}

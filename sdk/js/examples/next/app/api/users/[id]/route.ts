export async function GET(_request: Request, { params }: { params: Promise<{ id: string }> }) {
  const { id } = await params;
  if (id === '0') throw new Error('nobody');
  return Response.json({ user: id });
}

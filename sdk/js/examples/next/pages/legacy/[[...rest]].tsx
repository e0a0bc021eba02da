export function getServerSideProps() {
  return { props: {} };
}

export default function Page() {
  return <h1>From the pages router</h1>;
}

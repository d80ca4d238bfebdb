//! Reading without a group: one reader, from where it is told.

use futures_util::FutureExt as _;
use highwater_client::{ReadBatch, ReadError, Reader};
use highwater_types::PartitionId;

use super::{ConsumeArgs, Printer};
use crate::error::CliError;
use crate::sink::Audience;

/// Prints records until told enough.
pub(super) async fn run(mut args: ConsumeArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    let topic = args.topic.clone();
    let failed = |source| CliError::Read { topic: topic.clone(), source };
    let mut builder = client.reader().topic(topic.as_str()).from(args.offset);
    if let Some(partition) = args.partition {
        builder = builder.partitions([PartitionId::new(partition)]);
    }
    if args.exit_at_end {
        builder = builder.stop_at_end();
    }
    let mut reader = builder.open().await.map_err(failed)?;
    let mut printer = Printer::new(&mut args);
    let printed = print_all(&mut reader, &mut printer).await;
    printer.write().await;
    printer.sink.finish().await?;
    printed.map_err(failed)
}

async fn print_all(reader: &mut Reader, printer: &mut Printer) -> Result<(), ReadError> {
    while printer.left > 0 {
        let batch = match reader.next_batch().now_or_never() {
            Some(batch) => batch,
            None => {
                if printer.write().await == Audience::Left {
                    return Ok(());
                }
                tokio::select! {
                    batch = reader.next_batch() => batch,
                    () = printer.sink.left() => return Ok(()),
                }
            }
        };
        match batch {
            None => return Ok(()),
            Some(batch) => {
                if print_batch(printer, &batch?).await? == Audience::Left {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn print_batch(printer: &mut Printer, batch: &ReadBatch) -> Result<Audience, ReadError> {
    for record in batch.records()? {
        if printer.left == 0 {
            break;
        }
        printer.print(&record?);
        if printer.is_full() && printer.write().await == Audience::Left {
            return Ok(Audience::Left);
        }
    }
    Ok(Audience::Listens)
}
